"""Read files of ranges, whose format is detected, and write them in a given format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trt_int8.arguments import require_path
from trt_int8.documents import DocumentError, parse_json, parse_yaml, to_yaml
from trt_int8.errors import CacheError
from trt_int8.files import atomic
from trt_int8.printable import json_text
from trt_int8.ranges import onnxruntime as ort
from trt_int8.ranges.cache import DEFAULT_HEADER, CalibrationCache, is_header, read_bytes
from trt_int8.ranges.ranges import Ranges, TensorRange


@dataclass(frozen=True, eq=False)
class RangeFile:
    """The content of a file of ranges.

    Attributes:
        ranges: tensor → amax, in the file's order.
        form: the format, one of `trt_int8.choices.RANGE_FORMS`.
        header: first line of a TensorRT cache; None for other formats.
    """

    ranges: Ranges
    form: str
    header: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> RangeFile:
        """Read a file of any format.

        Raises:
            CacheError: the file does not exist, or has none of the formats.
            MissingDependencyError: YAML needs PyYAML, flatbuffers needs flatbuffers.
        """
        require_path(path, "path", of="a file of ranges")
        return cls._parse(read_bytes(path), str(path))

    @classmethod
    def _parse(cls, data: bytes, source: str) -> RangeFile:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return cls(_ranges(ort.parse_flatbuffers(data, source), source), "ort-flatbuffers")
        first = text.lstrip().split("\n", 1)[0].strip()
        if is_header(first):
            cache = CalibrationCache.parse(text, source=source)
            return cls(cache.ranges(), "tensorrt", cache.header)
        if first.startswith("{"):
            return _from_json(text, source)
        if Path(source).suffix in (".yaml", ".yml") or _looks_like_yaml(text):
            return cls(_ranges(_parse_yaml(text, source), source), "yaml")
        if not first or not re.fullmatch(r".+ [-+.0-9a-zA-Z]+", first) or first.startswith("TRT-"):
            CalibrationCache.parse(text, source=source)  # its error shows what a cache looks like
        return cls(_ranges(ort.parse_decimal(text, source), source), "ort-cache")

    def write(self, path: str | os.PathLike[str], *, form: str, header: str | None = None) -> None:
        """Write the file in one step.

        Args:
            path: the file.
            form: the format, one of `trt_int8.choices.RANGE_FORMS`.
            header: first line of a TensorRT cache; None: this file's own, or that of TensorRT 8.6.

        Raises:
            CacheError: the format cannot represent a name or a value.
            OutputError: the file cannot be written.
        """
        if header is not None and not is_header(header):
            raise CacheError(
                f"{header!r} is not the header of a TensorRT calibration cache, which looks like "
                f"{DEFAULT_HEADER}"
            )
        amax = {name: entry.amax for name, entry in self.ranges.items()}
        try:
            if form == "tensorrt":
                data = CalibrationCache.from_ranges(self.ranges, header=header or self.header).text.encode()
            else:
                data = ort.to_flatbuffers(amax) if form == "ort-flatbuffers" else _TEXTS[form](amax).encode()
        except UnicodeEncodeError as error:
            name = next(name for name in amax if not name.isprintable() and error.object[error.start] in name)
            raise CacheError(
                f"tensor name {name!r} has half of a surrogate pair, which {form} cannot have; "
                "rename the tensor"
            ) from error
        self._require_readable(data, form, str(path))
        atomic.write_bytes(path, data)

    def _require_readable(self, data: bytes, form: str, path: str) -> None:
        """Refuse names that this format loses, such as one with a line break."""
        try:
            found = set(self._parse(data, path).ranges)
        except CacheError:
            found = set()
        lost = sorted(set(self.ranges) - found)
        if lost:
            raise CacheError(f"tensor name {lost[0]!r} cannot be written as {form}; choose another format")


def _ranges(amax: Mapping[str, float], source: str) -> Ranges:
    if not amax:
        raise CacheError(f"{source}: has no tensors; calibrate again")
    return Ranges({name: TensorRange(value, source=source) for name, value in amax.items()})


def _from_json(text: str, source: str) -> RangeFile:
    try:
        document = parse_json(text)
    except DocumentError as error:
        raise CacheError(f"{source}{error.at}: {error}") from error
    if document.get("CLS") == "TensorsData" and isinstance(document.get("data"), dict):
        form, entries = "ort-tensors", document["data"]
    else:
        entries = document
        form = "ort-json" if any(isinstance(value, list | dict) for value in document.values()) else "json"
    amax = {name: ort.amax_of(value, f"{source}: tensor {name!r}") for name, value in entries.items()}
    return RangeFile(_ranges(amax, source), form)


def _looks_like_yaml(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and all(re.fullmatch(r"(\S.*)?: \S.*|\? \S.*", line) for line in lines)


def _parse_yaml(text: str, source: str) -> dict[str, float]:
    try:
        # As text: a name such as 106 stays a name, and YAML reads a number such as 1e-05 as text.
        document, _ = parse_yaml(text, typed=False, purpose=f"reading {source}")
    except DocumentError as error:
        raise CacheError(f"{source}{error.at}: {error}") from error
    if not isinstance(document, dict):
        raise CacheError(f"{source}: must map tensor names to ranges, one per line: 'conv1: 6.0'")
    return {name: ort.amax_of(value, f"{source}: tensor {name!r}") for name, value in document.items()}


def _to_yaml(amax: Mapping[str, float]) -> str:
    return to_yaml({name: float(value) for name, value in amax.items()}, purpose="writing YAML")


def _to_plain_json(amax: Mapping[str, float]) -> str:
    document = {name: value if value < float("inf") else "inf" for name, value in amax.items()}
    return json_text(document, indent=1) + "\n"


_TEXTS: dict[str, Callable[[Mapping[str, float]], str]] = {
    "json": _to_plain_json,
    "yaml": _to_yaml,
    "ort-json": ort.to_json,
    "ort-tensors": ort.to_tensors_json,
    "ort-cache": ort.to_decimal,
}

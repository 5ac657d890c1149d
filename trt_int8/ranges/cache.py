r"""Read and write TensorRT's calibration cache, bit for bit.

It is a text file: a header, then one line ``name: scale`` per tensor. The scale is written as the big-endian
bytes of a float32 in hexadecimal::

    TRT-8601-EntropyCalibration2
    data: 3c008912

amax = 127 · scale. Very old headers are ``1`` (entropy) and ``0 <double> <double>`` (legacy). Names may have
colons and spaces, so a line is split at its last ``": "``. TensorRT writes zero as ``0``, unpadded.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trt_int8.arguments import require_path
from trt_int8.errors import CacheError
from trt_int8.files import atomic
from trt_int8.files.inputs import TEXT_LIMIT, read_input
from trt_int8.ranges.ranges import Ranges, TensorRange, require_ranges

_HEADER = re.compile(r"TRT-\w+-(?P<algorithm>\w+)|1|0 [0-9a-fA-F]{1,16} [0-9a-fA-F]{1,16}")
_HEX = re.compile(r"[0-9a-fA-F]{1,8}")
#: The header of caches written here: the first TensorRT release this package supports.
_VERSION = "TRT-8601"
_ENTROPY2 = "EntropyCalibration2"
DEFAULT_HEADER = f"{_VERSION}-{_ENTROPY2}"


@dataclass(frozen=True)
class CalibrationCache:
    r"""The content of a cache file.

    Attributes:
        scales: tensor name → scale, in the file's order. Zero and inf occur; NaN and negative do not.
        header: the first line.
        text: the content of the file, byte for byte in UTF-8.
        source: the name of the cache in messages: the file it was read from.

    Examples:
        >>> cache = CalibrationCache.parse("TRT-8601-EntropyCalibration2\ndata: 3c008912\n")
        >>> round(cache.ranges()["data"].amax, 4)
        0.9963
    """

    header: str
    scales: Mapping[str, np.float32]
    text: str = field(repr=False)
    source: str = "the cache"

    @property
    def algorithm(self) -> str:
        """``EntropyCalibration2``, ``MinMaxCalibration``, …, as TensorRT spells it."""
        match = _HEADER.fullmatch(self.header)
        named = match and match["algorithm"]
        return named or {"1": "EntropyCalibration"}.get(self.header, "LegacyCalibration")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CalibrationCache:
        """Read a cache file.

        Examples:
            >>> cache = CalibrationCache.read("model.cache")
            >>> cache.header
            'TRT-8601-EntropyCalibration2'

        Raises:
            CacheError: the file does not exist, or a line does not belong to a cache (named as file:line).
            TypeError: ``path`` is not a path.
        """
        require_path(path, "path", of="a calibration cache")
        try:
            text = read_bytes(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CacheError(
                f"{path}: a binary file (byte {error.start}), not a TensorRT calibration cache; convert an "
                "onnxruntime calibration table with trt-int8 cache convert FILE --to tensorrt -o OUT"
            ) from error
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "the cache") -> CalibrationCache:
        """Parse the text of a cache with LF or CRLF, with or without a final newline.

        Raises:
            CacheError: see `read`.
            TypeError: ``text`` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"text is {text!r:.40} ({type(text).__name__}); give the text of a calibration cache, or its "
                "path to CalibrationCache.read"
            )
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        header = lines[0].strip()
        if not _HEADER.fullmatch(header):
            raise CacheError(
                f"{source}:1: {_shown(lines[0])} is not the header of a TensorRT calibration cache, "
                f"which looks like {DEFAULT_HEADER}"
            )
        scales: dict[str, np.float32] = {}
        for number, line in enumerate(lines[1:], start=2):
            if not line.strip():
                continue
            place = f"{source}:{number}"
            name, scale = _entry(line, place)
            short = len(line.rpartition(": ")[2].strip()) < 8
            if short and (0 < scale < np.finfo(np.float32).tiny or (scale and number == len(lines))):
                raise CacheError(
                    f"{place}: the scale of tensor {name!r} has fewer than 8 digits, so the line was cut; "
                    "copy the file again or calibrate again"
                )
            if name in scales:
                raise CacheError(f"{place}: tensor {name!r} is listed twice; remove one of the lines")
            scales[name] = scale
        return cls(header, scales, text, source)

    @classmethod
    def from_ranges(
        cls, ranges: Ranges, *, calibrator: str = _ENTROPY2, header: str | None = None
    ) -> CalibrationCache:
        """Make a cache of ``ranges``, in their order.

        Args:
            ranges: the ranges.
            calibrator: the calibrator in the header, the only one for which TensorRT accepts the cache:
                ``EntropyCalibration2`` or ``MinMaxCalibration``. `trt_int8.Calibration.cache` sets it.
            header: the whole first line, instead.

        Raises:
            CacheError: a name has a line break, which the format cannot represent.
            TypeError: ``ranges`` is not a `Ranges`.
        """
        require_ranges(ranges)
        for name in ranges:
            if "\n" in name or "\r" in name:
                raise CacheError(
                    f"tensor name {name!r} has a line break, which a cache cannot have; rename the tensor"
                )
        header = header or f"{_VERSION}-{calibrator}"
        scales = {name: range_.scale for name, range_ in ranges.items()}
        body = "".join(f"{name}: {scale_to_hex(scale)}\n" for name, scale in scales.items())
        return cls(header, scales, f"{header}\n{body}")

    def ranges(self) -> Ranges:
        """Return amax = 127 · scale of each tensor; `TensorRange.scale` has the same bits again."""
        return Ranges(
            {name: TensorRange(float(scale) * 127, source=self.source) for name, scale in self.scales.items()}
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `text` in one step.

        Raises:
            OutputError: the file cannot be written.
        """
        atomic.write_text(path, self.text)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file of ranges.

    Raises:
        CacheError: it cannot be read.
    """
    try:
        return read_input(path, limit=TEXT_LIMIT)
    except FileNotFoundError as error:
        raise CacheError(f"{path}: no such file; check the path of the cache") from error
    except IsADirectoryError as error:
        raise CacheError(f"{path} is a folder; give the cache file in it") from error
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error


def is_header(line: str) -> bool:
    """Return whether ``line`` is the first line of a TensorRT cache."""
    return _HEADER.fullmatch(line) is not None


def _entry(line: str, place: str) -> tuple[str, np.float32]:
    name, separator, digits = line.rpartition(": ")
    digits = digits.strip()
    if not separator or not name:
        raise CacheError(
            f"{place}: {_shown(line)} is not 'tensor name: scale'; remove the line or calibrate again"
        )
    if not _HEX.fullmatch(digits):
        raise CacheError(
            f"{place}: scale {_shown(digits)} of tensor {name!r} is not a float32 in hexadecimal "
            "(up to 8 digits); correct the line or calibrate again"
        )
    scale = np.float32(struct.unpack(">f", bytes.fromhex(digits.zfill(8)))[0])
    if np.isnan(scale) or np.signbit(scale):
        raise CacheError(
            f"{place}: scale {digits} of tensor {name!r} is {scale}; it must be 0 or more, so calibrate again"
        )
    return name, scale


def scale_to_hex(scale: np.float32) -> str:
    """Return a scale as TensorRT writes it: the big-endian bytes of the float32; zero is ``0``."""
    return struct.pack(">f", scale).hex() if scale else "0"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")

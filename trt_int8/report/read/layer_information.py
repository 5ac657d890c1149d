"""Layer information of engines, in JSON and in the two text forms of logs; and profiles.

JSON comes from the engine inspector, ``trtexec --exportLayerInfo`` and TREx graphs. Text is detailed,
``Name: …, LayerType: …, Inputs: [ { Name: …, Dimensions: […], Datatype: … }], …``, or one line,
``Layer(CaskConvolution): NAME, Tactic: 0x…, in (Int8[1,3:4,8,8]) -> out (Half[1,64,4,4])``, before
TensorRT 8.5 with tensors written ``in[Int8(1,3,8,8)]``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from trt_int8.arguments import require_path
from trt_int8.documents import DocumentError, parse_json
from trt_int8.errors import ReportError
from trt_int8.files.inputs import JSON_LIMIT, Readable, open_input, read_limited
from trt_int8.report.read.datatypes import dtype
from trt_int8.report.read.observed import Observed
from trt_int8.report.records import Layer, Tensor

_ONNX = "[ONNX Layer: "
_TACTIC = re.compile(r", Tactic: (0x[0-9a-fA-F]+|-?\d+), ?")
_TYPED = re.compile(
    r"(?: \((?P<new>\w+)\[(?P<dims>[^\[\]]*)\]\)|\[(?P<old>\w+)\((?P<olddims>[^()]*)\)\])(?=, | ->|\s*$)"
)
_WEIGHTS = re.compile(r'\bWeights: \{"Type": "(\w+)"')


def onnx_nodes(metadata: str) -> tuple[str, ...]:
    """Return the node names of ``[ONNX Layer: a][ONNX Layer: b]``, each once, in order.

    TensorRT 10 puts the byte 0x1e between two nodes, TensorRT-RTX 0x1f.
    """
    names: list[str] = []
    for part in metadata.replace("\x1f", "\x1e").split("\x1e"):
        entry = part.strip(" \r\n")
        if entry.startswith(_ONNX):
            # A node name may hold brackets itself; only a whole header separates two names.
            names += entry[len(_ONNX) :].removesuffix("]").split("]" + _ONNX)
    return tuple(dict.fromkeys(names))


@lru_cache(maxsize=4096)
def dimensions(text: str) -> tuple[int, ...] | None:
    """Return (1, 3, 8, 8) for ``1,3,8,8`` and for the vectorized ``1,3:4,8,8``; () for ""."""
    parts = [part.partition(":")[0] for part in text.split(",")] if text.strip() else []
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        return None


def read_detailed(text: str, *, line: int | None = None) -> Layer | None:
    """Read a ``Name: …, LayerType: …`` line. Return None if it is another one or was cut off."""
    name, separator, rest = text.removeprefix("Name: ").partition(", LayerType: ")
    type_, opening, rest = rest.partition(", Inputs: [")
    if not separator or not opening:
        return None
    inputs, constants, outputs, rest = _sections(rest)
    if inputs is None:
        return None
    weights = _WEIGHTS.search(rest)
    return Layer(
        name=name,
        type=type_.strip(),
        inputs=_tensors(inputs),
        constants=_tensors(constants),
        outputs=_tensors(outputs),
        tactic=_value(rest, ", TacticValue: "),
        tactic_name=_value(rest, ", TacticName: "),
        onnx_nodes=onnx_nodes(rest.partition(", Metadata:")[2]),
        weights=dtype(weights.group(1)) if weights else None,
        origin=_value(rest, ", Origin: "),
        line=line,
    )


def read_one_line(text: str, *, line: int | None = None) -> Layer | None:
    """Read a ``Layer(TYPE): NAME, Tactic: …`` line. Return None if it is another one or was cut off."""
    type_, closing, rest = text.removeprefix("Layer(").partition("): ")
    found = _TACTIC.search(rest)
    if not closing or found is None:
        return None
    split = _split_tensors(rest[found.end() :])
    if split is None:
        return None
    name, (inputs, outputs) = rest[: found.start()], split
    return Layer(name, type_, inputs, outputs=outputs, tactic=found.group(1), line=line)


def _sections(rest: str) -> tuple[str | None, str, str, str]:
    """Return the text in the brackets of inputs, constants and outputs, and the text after them."""
    inputs, opening, following = rest.partition("], Outputs: [")
    if not opening:
        return None, "", "", ""
    inputs, _, constants = inputs.partition("], Constants: [")
    # The outputs end at the first bracket after a tensor, or at once.
    end = 0 if following.startswith("]") else following.find("}]") + 1
    if end == 0 and not following.startswith("]"):
        return None, "", "", ""
    return inputs, constants, following[:end], following[end + 1 :]


def _value(rest: str, key: str) -> str | None:
    return rest.partition(key)[2].partition(", ")[0].strip() or None


def _tensors(section: str) -> tuple[Tensor, ...]:
    entries = section.strip().removeprefix("{ Name: ").removesuffix("}")
    return tuple(_tensor(entry) for entry in entries.split("}, { Name: ")) if entries else ()


def _tensor(entry: str) -> Tensor:
    name, _, rest = entry.partition(", Dimensions: [")
    name = name.partition(", Location: ")[0]
    dims, _, rest = rest.partition("]")
    both = rest.partition(", Format/Datatype: ")[2].strip()
    if both:
        return Tensor(name, dtype(both), dimensions(dims), both if " " in both else None)
    spelling, _, form = rest.partition(", Datatype: ")[2].partition(", Format: ")
    return Tensor(name, dtype(spelling.strip()), dimensions(dims), form.strip() or None)


def _split_tensors(text: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None:
    """Split ``a (Int8[1]), b (Half[2]) -> c (Float[3])`` at the types: names may have both separators."""
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    side, start = 0, 0
    if text.startswith(("->", " ->")):
        side, start = 1, text.index("->") + 3
    for found in _TYPED.finditer(text):
        if found.start() < start:
            continue
        dims = found["dims"] if found["new"] else found["olddims"]
        vector = dims.partition(":")[2].partition(",")[0]
        form = vector + "-wide channels" if vector else None
        name = text[start : found.start()]
        sides[side].append(Tensor(name, dtype(found["new"] or found["old"]), dimensions(dims), form))
        start = found.end()
        if text.startswith(" ->", start):
            side = 1
            start += 4
        elif text.startswith(", ", start):
            start += 2
    if side == 0 or text[start:].strip():
        return None
    return tuple(sides[0]), tuple(sides[1])


def read_layer_information(path: str | os.PathLike[str], file: Readable | None = None) -> Observed:
    """Read the layers of one engine: ``{"Layers": […]}``, each an object, or a name only.

    ``file`` is the open file, if it is a pipe whose beginning was looked at.

    Raises:
        ReportError: the file is not JSON, or not layer information.
    """
    document = _load(path, "layer information", file)
    layers = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(layers, list):
        raise ReportError(
            f'{path} is not layer information: it has no "Layers" list. Give the output of trtexec '
            "--exportLayerInfo or of the engine inspector (LayerInformationFormat.JSON)"
        )
    return Observed(layers=[_layer(entry) for entry in layers], complete=bool(layers))


def read_profile(path: str | os.PathLike[str]) -> list[tuple[str, float]]:
    """Return (layer name, average ms) for each entry of ``trtexec --exportProfile``, in order.

    Raises:
        ReportError: the file is not JSON, or not a profile.
    """
    document = _load(path, "profile")
    entries = document if isinstance(document, list) else []
    entries = [entry for entry in entries if isinstance(entry, dict)]
    counts = (_number(entry.get("count")) for entry in entries)
    count = next((number for number in counts if number is not None), 1.0)
    times = []
    for entry in entries:
        if isinstance(entry.get("name"), str):
            average, total = _number(entry.get("averageMs")), _number(entry.get("timeMs"))
            if average is None and total is not None:
                average = total / max(count, 1.0)
            if average is not None:
                times.append((entry["name"], average))
    if not times:
        raise ReportError(
            f'{path} is not a profile: it has no entries with "name" and "averageMs". '
            "Give the output of trtexec --exportProfile"
        )
    return times


def with_times(
    layers: Sequence[Layer], times: Sequence[tuple[str, float]], *, source: str
) -> tuple[Layer, ...]:
    """Give each layer the time of the profile entry of the same name. Equal names match in order.

    Raises:
        ReportError: no name matches, so the profile is of another engine.
    """
    left: dict[str, list[float]] = {}
    for name, time in reversed(times):
        left.setdefault(name, []).append(time)
    timed = [
        layer.changed(time_ms=left[layer.name].pop()) if left.get(layer.name) else layer for layer in layers
    ]
    if layers and all(layer.time_ms is None for layer in timed):
        raise ReportError(
            f"{source} is a profile of another engine: no layer name matches (first layer of the engine: "
            f"{layers[0].name!r}, first in the profile: {times[0][0]!r})"
        )
    return tuple(timed)


def _load(path: str | os.PathLike[str], what: str, file: Readable | None = None) -> Any:
    require_path(path, "path", of=f"the {what}")
    try:
        with open_input(path) if file is None else nullcontext(file) as opened:
            return parse_json(read_limited(opened, path, limit=JSON_LIMIT), unique=False)
    except OSError as error:
        raise ReportError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except DocumentError as error:
        raise ReportError(f"{path}{error.at}: {error} ({what} expected)") from error


def _layer(entry: Any) -> Layer:
    if not isinstance(entry, dict):
        return Layer(str(entry), "", kind="compute")
    weights = entry.get("Weights")
    return Layer(
        name=_text(entry.get("Name")),
        type=_text(entry.get("LayerType")),
        inputs=_json_tensors(entry.get("Inputs")),
        constants=_json_tensors(entry.get("Constants")),
        outputs=_json_tensors(entry.get("Outputs")),
        tactic=_text(entry.get("TacticValue")) or None,
        tactic_name=_text(entry.get("TacticName")) or None,
        onnx_nodes=onnx_nodes(_text(entry.get("Metadata"))),
        weights=dtype(_text(weights.get("Type"))) if isinstance(weights, dict) else None,
        origin=_text(entry.get("Origin")) or None,
    )


def _json_tensors(entries: Any) -> tuple[Tensor, ...]:
    entries = entries if isinstance(entries, list) else []
    return tuple(_json_tensor(entry) for entry in entries if isinstance(entry, dict))


def _json_tensor(entry: dict[str, Any]) -> Tensor:
    spelling = _text(entry.get("Datatype") or entry.get("Format/Datatype"))
    form = _text(entry.get("Format")) or (spelling if " " in spelling else None)
    dims = entry.get("Dimensions")
    whole = isinstance(dims, list) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in dims
    )
    return Tensor(_text(entry.get("Name")), dtype(spelling), tuple(dims) if whole else None, form)  # type: ignore[arg-type]  # whole: all are int


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: Any) -> float | None:
    """Return a finite number, or None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

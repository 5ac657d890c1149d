"""Read one layer from the two text forms of the engine's layer information.

Detailed: ``Name: …, LayerType: …, Inputs: [ { Name: …, Dimensions: […], Datatype: … }], …``.
One line: ``Layer(CaskConvolution): NAME, Tactic: 0x…, in (Int8[1,3:4,8,8]) -> out (Half[1,64,4,4])``, before
TensorRT 8.5 with tensors written ``in[Int8(1,3,8,8)]``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from trt_int8.report.datatypes import dtype
from trt_int8.report.records import Layer, Tensor

_ONNX = "[ONNX Layer: "
_TACTIC = re.compile(r", Tactic: (0x[0-9a-fA-F]+|-?\d+), ?")
_TYPED = re.compile(
    r"(?: \((?P<new>\w+)\[(?P<dims>[^\[\]]*)\]\)|\[(?P<old>\w+)\((?P<olddims>[^()]*)\)\])(?=, | ->|\s*$)"
)
_WEIGHTS = re.compile(r'\bWeights: \{"Type": "(\w+)"')


def onnx_nodes(metadata: str) -> tuple[str, ...]:
    """Node names of ``[ONNX Layer: a][ONNX Layer: b]``, each once, in order.

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
    """``1,3,224,224`` → (1, 3, 224, 224); a vectorized ``1,3:4,8,8`` drops the vector width; "" → ()."""
    parts = [part.partition(":")[0] for part in text.split(",")] if text.strip() else []
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        return None


def read_detailed(text: str, *, line: int | None = None) -> Layer | None:
    """A ``Name: …, LayerType: …`` line; None if it is not one or was cut off."""
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
    """A ``Layer(TYPE): NAME, Tactic: …`` line; None if it is not one or was cut off."""
    type_, closing, rest = text.removeprefix("Layer(").partition("): ")
    found = _TACTIC.search(rest)
    if not closing or found is None:
        return None
    split = _split_tensors(rest[found.end() :])
    if split is None:
        return None
    return Layer(
        name=rest[: found.start()],
        type=type_,
        inputs=split[0],
        outputs=split[1],
        tactic=found.group(1),
        line=line,
    )


def _sections(rest: str) -> tuple[str | None, str, str, str]:
    """What is between the brackets of inputs, constants and outputs, and what follows."""
    inputs, opening, following = rest.partition("], Outputs: [")
    if not opening:
        return None, "", "", ""
    inputs, _, constants = inputs.partition("], Constants: [")
    # The outputs end at the first bracket behind a tensor, or at once.
    end = 0 if following.startswith("]") else following.find("}]") + 1
    if end == 0 and not following.startswith("]"):
        return None, "", "", ""
    return inputs, constants, following[:end], following[end + 1 :]


def _value(rest: str, key: str) -> str | None:
    found = rest.partition(key)[2].partition(", ")[0].strip()
    return found or None


def _tensors(section: str) -> tuple[Tensor, ...]:
    entries = section.strip().removeprefix("{ Name: ").removesuffix("}")
    if not entries:
        return ()
    return tuple(_tensor(entry) for entry in entries.split("}, { Name: "))


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
    """``a (Int8[1]), b (Half[2]) -> c (Float[3])``: names may hold both separators, so go by the types."""
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    side, start = 0, 0
    if text.startswith(("->", " ->")):
        side, start = 1, text.index("->") + 3
    for found in _TYPED.finditer(text):
        if found.start() < start:
            continue
        dims = found["dims"] if found["new"] else found["olddims"]
        vector = dims.partition(":")[2].partition(",")[0]
        sides[side].append(
            Tensor(
                text[start : found.start()],
                dtype(found["new"] or found["old"]),
                dimensions(dims),
                vector + "-wide channels" if vector else None,
            )
        )
        start = found.end()
        if text.startswith(" ->", start):
            side = 1
            start += 4
        elif text.startswith(", ", start):
            start += 2
    if side == 0 or text[start:].strip():
        return None
    return tuple(sides[0]), tuple(sides[1])

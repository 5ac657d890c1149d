"""Read one layer from the two text forms of the engine's layer information.

Detailed: ``Name: …, LayerType: …, Inputs: [ { Name: …, Dimensions: […], Datatype: … }], …``.
One line: ``Layer(CaskConvolution): NAME, Tactic: 0x…, in (Int8[1,3:4,8,8]) -> out (Half[1,64,4,4])``, before
TensorRT 8.5 with tensors written ``in[Int8(1,3,8,8)]``.
"""

from __future__ import annotations

import re

from trt_int8.report.datatypes import dtype
from trt_int8.report.records import Layer, Tensor

# Names may hold commas, brackets and "Inputs: [": take the first section header that fits the grammar.
_HEAD = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: \[", re.DOTALL)
_SECTION = re.compile(r"\](?:, |,)(?=(?:Constants|Outputs|ParameterType|TacticName|TacticValue|Origin)\b)")
_TENSOR = re.compile(
    r"\{ Name: (?P<name>.*?)(?:, Location: \w+)?, Dimensions: \[(?P<dims>[^\]]*)\]"
    r"(?:, Strides: \[[^\]]*\])?(?:, StrideOrder: \[[^\]]*\])?"
    r"(?:, Format/Datatype: (?P<both>.*?)|, Datatype: (?P<dtype>[^,}]*?)"
    r"(?:, Format: (?P<format>.*?))?) ?\}(?=,|\]|$)",
    re.DOTALL,
)
_WEIGHTS = re.compile(r'\bWeights: \{"Type": "(\w+)"')
_ORIGIN = re.compile(r", Origin: (\w+)")
_TACTIC_NAME = re.compile(r", TacticName: ([^,]*)")
_TACTIC_VALUE = re.compile(r", TacticValue: (0x[0-9a-fA-F]+)")
_METADATA = re.compile(r", Metadata: ?(.*)$", re.DOTALL)
_ONNX = "[ONNX Layer: "

_ONE_LINE = re.compile(
    r"Layer\((?P<type>[\w ]*)\): (?P<name>.*?), Tactic: (?P<tactic>0x[0-9a-fA-F]+|-?\d+), ?(?P<tensors>.*)$",
    re.DOTALL,
)
_TYPED = re.compile(
    r"(?: \((?P<new>\w+)\[(?P<dims>[^\[\]]*)\]\)|\[(?P<old>\w+)\((?P<olddims>[^()]*)\)\])(?=, | -> |\s*$)"
)


def onnx_nodes(metadata: str) -> tuple[str, ...]:
    """Node names of ``[ONNX Layer: a][ONNX Layer: b]``, each once, in order.

    TensorRT 10 puts the byte 0x1e between two nodes, TensorRT-RTX 0x1f.
    """
    names: list[str] = []
    for part in re.split("[\x1e\x1f]", metadata):
        text = part.strip(" \r\n")
        if text.startswith(_ONNX):
            # A node name may hold brackets itself; only a whole header separates two names.
            names += text[len(_ONNX) :].removesuffix("]").split("]" + _ONNX)
    return tuple(dict.fromkeys(names))


def dimensions(text: str) -> tuple[int, ...] | None:
    """``1,3,224,224`` → (1, 3, 224, 224); a vectorized ``1,3:4,8,8`` drops the vector width; "" → ()."""
    parts = [part.split(":")[0].strip() for part in text.split(",")] if text.strip() else []
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        return None


def read_detailed(text: str, *, line: int | None = None) -> Layer | None:
    """A ``Name: …, LayerType: …`` line; None if it is not one or was cut off."""
    head = _HEAD.match(text)
    if head is None:
        return None
    inputs_end = _SECTION.search(text, head.end() - 1)
    if inputs_end is None:
        return None
    rest = text[inputs_end.end() :]
    constants = outputs = ""
    if rest.startswith("Constants: ["):
        end = _SECTION.search(rest)
        if end is None:
            return None
        constants, rest = rest[: end.start()], rest[end.end() :]
    if rest.startswith("Outputs: ["):
        end = _SECTION.search(rest)
        if end is None:
            return None
        outputs, rest = rest[: end.start()], rest[end.end() :]
    rest = ", " + rest
    weights = _WEIGHTS.search(rest)
    metadata = _METADATA.search(rest)
    return Layer(
        name=head["name"],
        type=head["type"].strip(),
        inputs=_tensors(text[head.end() : inputs_end.start()]),
        constants=_tensors(constants),
        outputs=_tensors(outputs),
        tactic=_first(_TACTIC_VALUE, rest),
        tactic_name=_first(_TACTIC_NAME, rest),
        onnx_nodes=onnx_nodes(metadata.group(1)) if metadata else (),
        weights=dtype(weights.group(1)) if weights else None,
        origin=_first(_ORIGIN, rest),
        line=line,
    )


def read_one_line(text: str, *, line: int | None = None) -> Layer | None:
    """A ``Layer(TYPE): NAME, Tactic: …`` line; None if it is not one or was cut off."""
    found = _ONE_LINE.match(text)
    if found is None:
        return None
    split = _split_tensors(found["tensors"].rstrip())
    if split is None:
        return None
    return Layer(
        name=found["name"],
        type=found["type"],
        inputs=split[0],
        outputs=split[1],
        tactic=found["tactic"],
        line=line,
    )


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group(1).strip() or None if found else None


def _tensors(text: str) -> tuple[Tensor, ...]:
    tensors = []
    for found in _TENSOR.finditer(text):
        both = found["both"]
        spelling = both if both is not None else found["dtype"]
        form = both if both is not None and " " in both.strip() else found["format"]
        tensors.append(
            Tensor(found["name"], dtype(spelling), dimensions(found["dims"]), form.strip() if form else None)
        )
    return tuple(tensors)


def _split_tensors(text: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None:
    """``a (Int8[1]), b (Half[2]) -> c (Float[3])``: names may hold both separators, so go by the types."""
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    side, start = 0, 0
    if text.startswith("->") or text.startswith(" ->"):
        side, start = 1, text.index("->") + 3
    elif not text:
        return None
    for found in _TYPED.finditer(text):
        if found.start() < start:
            continue
        dims = found["dims"] if found["new"] else found["olddims"]
        vector = re.search(r":\d+", dims)
        sides[side].append(
            Tensor(
                text[start : found.start()],
                dtype(found["new"] or found["old"]),
                dimensions(dims),
                vector.group(0)[1:] + "-wide channels" if vector else None,
            )
        )
        start = found.end()
        if text.startswith(" -> ", start):
            if side == 0:
                side = 1
            start += 4
        elif text.startswith(" ->", start):
            side = 1
            start += 3
        elif text.startswith(", ", start):
            start += 2
    if side == 0 or text[start:].strip():
        return None
    return tuple(sides[0]), tuple(sides[1])

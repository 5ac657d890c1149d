"""Match the entries of a calibration cache to the tensors of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trt_int8.graph.index import GraphIndex
from trt_int8.graph.operators import PASSING

_UNNAMED = re.compile(r"\(Unnamed Layer\* (?P<number>\d+)\) \[(?P<type>[^\]]+)\]_output")
#: TensorRT's layer type → the ONNX operators that such a layer can stand for.
_OPERATORS = {
    "Fully Connected": ("Gemm", "MatMul"),
    "Matrix Multiply": ("MatMul",),  # of a Gemm it is the product before the bias
    "Convolution": ("Conv",),
    "Deconvolution": ("ConvTranspose",),
    "Activation": ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Elu", "HardSigmoid", "Softplus"),
    "ElementWise": ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"),
    "Pooling": ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    "SoftMax": ("Softmax",),
    "Scale": ("BatchNormalization",),
    "Concatenation": ("Concat",),
}


def resolve_unnamed(names: Sequence[str], index: GraphIndex) -> dict[str, str]:
    """Return entry with a generated name → tensor, where the position in the cache leaves one possibility.

    ``names`` are the entries in the order of the cache. Between two neighbouring entries that the model has,
    there must be as many generated names as the model has tensors without an entry. Their types must fit in
    the same order, their numbers must rise, and each tensor must lie on a path between the two neighbours.
    All other entries stay unresolved.
    """
    known = set(index.order)
    position = {name: i for i, name in enumerate(index.order)}
    listed = set(names)
    found: dict[str, str] = {}
    before: str | None = None
    gap: list[str] = []
    for name in [*names, None]:
        if name is not None and name not in known:
            gap.append(name)
            continue
        if before is not None or name is not None:
            lowest = -1 if before is None else position[before]
            highest = len(position) if name is None else position[name]
            missing = [t for t in index.order[lowest + 1 : highest] if t not in listed]
            between = [t for t in missing if _reaches(before, t, index) and _reaches(t, name, index)]
            found.update(_match(gap, between, index))
        before, gap = name, []
    return found


def through_moves(scaled: Mapping[str, str], index: GraphIndex) -> dict[str, str]:
    """Return tensor without an entry → the entry of a tensor that holds the same values.

    ``scaled`` has the entry of each other tensor.
    """
    found = dict(scaled)
    moves = [node for node in index.graph.node if node.op_type in PASSING and node.input]
    for node in moves:
        if node.output[0] not in found and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    for node in reversed(moves):
        # Max-pooling drops values: the range of its output is not that of its input.
        if node.op_type != "MaxPool" and node.input[0] not in found and node.output[0] in found:
            found[node.input[0]] = found[node.output[0]]
    return {tensor: entry for tensor, entry in found.items() if tensor not in scaled}


def _match(gap: Sequence[str], missing: Sequence[str], index: GraphIndex) -> dict[str, str]:
    matches = [match for name in gap if (match := _UNNAMED.fullmatch(name)) and match["type"] in _OPERATORS]
    # A name of another model, or one without a layer type, could stand for any of the tensors.
    if not matches or not all(_UNNAMED.fullmatch(name) for name in gap):
        return {}
    numbers = [int(match["number"]) for match in matches]
    wanted = {operator for match in matches for operator in _OPERATORS[match["type"]]}
    tensors = [tensor for tensor in missing if _operator(index, tensor) in wanted]
    if len(tensors) != len(matches) or numbers != sorted(set(numbers)):
        return {}
    if any(_operator(index, t) not in _OPERATORS[m["type"]] for m, t in zip(matches, tensors, strict=True)):
        return {}
    return {match[0]: tensor for match, tensor in zip(matches, tensors, strict=True)}


def _operator(index: GraphIndex, tensor: str) -> str:
    return index.producers[tensor].op_type if tensor in index.producers else ""


def _reaches(start: str | None, end: str | None, index: GraphIndex) -> bool:
    """Return whether ``end`` is computed from ``start``; None stands for an end of the cache."""
    if start is None or end is None:
        return True
    seen, pending = {end}, [end]
    for name in pending:
        for source in index.producers[name].input if name in index.producers else ():
            if source == start:
                return True
            if source and source not in seen:
                seen.add(source)
                pending.append(source)
    return False

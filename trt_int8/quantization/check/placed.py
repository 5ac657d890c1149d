"""Checks of pairs that cost fusions or INT8 copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trt_int8.graph.index import label
from trt_int8.graph.operators import ACTIVATIONS, CONVOLUTIONS, MULTIPLYING
from trt_int8.quantization.check.qdq import Fault, QdqGraph


def unread_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Q and DQ nodes that nothing reads."""
    read = {*graph.index.consumers, *graph.index.outputs, *graph.index.used_in_bodies}
    for node in graph.linear:
        if not read & set(node.output):
            yield Fault(label(node), "nothing reads its output")


def fix_unread_pair(graph: QdqGraph) -> None:
    """Drop them."""
    graph.prune()


def broken_fusion(graph: QdqGraph) -> Iterator[Fault]:
    """Pairs behind a weighted node and before what fuses into it: BatchNormalization, activation, Add."""
    for before, behind, reader in _breaking(graph):
        producer = graph.index.producers[before.input[0]]
        yield Fault(
            label(behind), f"it keeps {reader.op_type} {label(reader)!r} from fusing into {label(producer)!r}"
        )


def fix_broken_fusion(graph: QdqGraph) -> None:
    """Let what would fuse read the float tensor."""
    for before, behind, reader in list(_breaking(graph)):
        for slot, name in enumerate(reader.input):
            if name == behind.output[0]:
                reader.input[slot] = before.input[0]


def residual_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Adds behind a convolution whose residual input is float."""
    for node, slot in _bare_residuals(graph):
        known = _pair_of(graph, node.input[slot]) is not None
        mend = None if known else "its range has to be calibrated: start from the float model"
        yield Fault(label(node), f"its residual input {node.input[slot]!r} has no pair", mend, known)


def fix_residual_pair(graph: QdqGraph) -> None:
    """Read the pair that another reader has."""
    for node, slot in list(_bare_residuals(graph)):
        pair = _pair_of(graph, node.input[slot])
        if pair is not None:
            node.input[slot] = pair.output[0]


def concat_scales(graph: QdqGraph) -> Iterator[Fault]:
    """Concats whose inputs and output have pairs with different scales."""
    for node, nodes in _concats(graph):
        scales = sorted({float(s) for n in nodes if (s := graph.scale(n)) is not None and s.size == 1})
        if len(scales) > 1:
            yield Fault(label(node), f"its tensors have the scales {', '.join(f'{s:g}' for s in scales)}")


def fix_concat_scales(graph: QdqGraph) -> None:
    """Give all of them the largest scale."""
    for _ in range(len(graph.linear)):  # groups grow together: until nothing changes
        if not list(concat_scales(graph)):
            return
        for _, nodes in list(_concats(graph)):
            scales = [s for n in nodes if (s := graph.scale(n)) is not None and s.size == 1]
            if len({float(s) for s in scales}) > 1:
                widest = np.asarray(max(float(s) for s in scales))
                graph.set_parameters(nodes, widest)
                graph.refresh()


def _breaking(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    for before, behind in graph.pairs():
        producer = graph.index.producers.get(before.input[0])
        if producer is None or producer.op_type not in (*MULTIPLYING, "BatchNormalization"):
            continue
        if behind.output[0] in graph.index.outputs:
            continue
        for use in graph.readers(behind.output[0]):
            reader = use.node
            fuses = reader.op_type in ACTIVATIONS or reader.op_type == "BatchNormalization"
            if fuses or (reader.op_type == "Add" and _fused_slot(graph, reader) == use.slot):
                yield before, behind, reader


def _fused_slot(graph: QdqGraph, add: onnx.NodeProto) -> int | None:
    """The input of an Add whose convolution the sum fuses into: the later of those only it reads."""
    if any(graph.index.is_constant(name) for name in add.input) or add.input[0] == add.input[1]:
        return None
    positions = {node.output[0]: i for i, node in enumerate(graph.index.graph.node) if node.output}
    found = {}
    for slot in (0, 1):
        tensor = graph.float_tensor(add.input[slot])
        producer = graph.index.producers.get(tensor)
        if producer is not None and producer.op_type == "BatchNormalization":
            producer = graph.index.producers.get(producer.input[0])
        if producer is None or producer.op_type not in CONVOLUTIONS:
            continue
        if len(graph.readers(tensor)) == 1 and len(graph.readers(add.input[slot])) == 1:
            found[slot] = positions[producer.output[0]]
    return max(found, key=lambda slot: found[slot]) if found else None


def _bare_residuals(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, int]]:
    for node in graph.index.graph.node:
        if node.op_type == "Add":
            fused = _fused_slot(graph, node)
            if fused is not None and graph.dequantize_behind(node.input[1 - fused]) is None:
                convolution = graph.index.producers.get(graph.float_tensor(node.input[fused]))
                if convolution is not None and any(graph.dequantize_behind(n) for n in convolution.input):
                    yield node, 1 - fused


def _pair_of(graph: QdqGraph, tensor: str) -> onnx.NodeProto | None:
    """A DequantizeLinear that gives ``tensor`` to another reader."""
    return next((behind for before, behind in graph.pairs() if before.input[0] == tensor), None)


def _concats(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Each Concat with the Q and DQ nodes of its inputs and output."""
    pairs = list(graph.pairs())
    for node in graph.index.graph.node:
        if node.op_type == "Concat":
            tensors = {graph.float_tensor(name) for name in node.input} | {node.output[0]}
            found = [linear for pair in pairs if pair[0].input[0] in tensors for linear in pair]
            if found:
                yield node, found

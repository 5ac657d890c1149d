"""Check for pairs that cost fusions or INT8 copies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from trt_int8.graph.index import Use, is_standard, label
from trt_int8.graph.operators import ACTIVATIONS, CONVOLUTIONS, MULTIPLYING
from trt_int8.quantization.check.qdq import NOT_CALIBRATED, QdqGraph
from trt_int8.quantization.check.register import Fault, check


@check("unread-pair", 300, "slow", "remove it")
def unused_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Find Q and DQ nodes without a consumer."""
    read = {*graph.index.consumers, *graph.index.outputs, *graph.index.used_in_bodies}
    for node in graph.linear:
        if not read & set(node.output):
            yield Fault(node, "its output has no consumer", fix=QdqGraph.prune)


@check("broken-fusion", 310, "slow", "let the builder fuse: remove the pair")
def broken_fusion(graph: QdqGraph) -> Iterator[Fault]:
    """Find pairs between a weighted node and a BatchNormalization, activation or Add that fuses into it."""
    for before, behind, use in _breaking(graph):
        producer = graph.index.producers[before.input[0]]
        yield Fault(
            behind,
            f"it keeps {use.node.op_type} {label(use.node)!r} from fusing into {label(producer)!r}",
            fix=partial(_read, use=use, tensor=before.input[0]),
        )


@check("residual-pair", 320, "slow", "quantize the residual input of the Add")
def residual_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Find Adds behind a convolution whose residual input is float."""
    for use in _bare_residuals(graph):
        tensor = use.node.input[use.slot]
        pair = next((behind for before, behind in graph.pairs() if before.input[0] == tensor), None)
        message = f"its residual input {tensor!r} has no pair"
        if pair is None:
            yield Fault(use.node, message, NOT_CALIBRATED)
        else:
            yield Fault(use.node, message, fix=partial(_read, use=use, tensor=pair.output[0]))


def _read(graph: QdqGraph, use: Use, tensor: str) -> None:
    """Let ``use`` read ``tensor``."""
    use.node.input[use.slot] = tensor


@check("concat-scales", 330, "slow", "give all inputs of the Concat the largest scale")
def concat_scales(graph: QdqGraph) -> Iterator[Fault]:
    """Find Concats whose inputs and output have pairs with different scales."""
    for node, nodes in _concats(graph):
        scales = sorted({float(s) for n in nodes if (s := graph.scale(n)) is not None and s.size == 1})
        if len(scales) > 1:
            message = f"its tensors have the scales {', '.join(f'{s:g}' for s in scales)}"
            yield Fault(node, message, fix=_join_scales)


def _join_scales(graph: QdqGraph) -> None:
    """Give all tensors of each Concat their largest scale."""
    for _ in range(len(graph.linear)):  # groups grow together: until nothing changes
        if not list(concat_scales(graph)):
            return
        for _, nodes in list(_concats(graph)):
            scales = [s for n in nodes if (s := graph.scale(n)) is not None and s.size == 1]
            if len({float(s) for s in scales}) > 1:
                widest = np.asarray(max(float(s) for s in scales))
                graph.set_parameters(nodes, widest)
                graph.refresh()


def _breaking(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, Use]]:
    for before, behind in graph.pairs():
        producer = graph.index.producers.get(before.input[0])
        if producer is None or producer.op_type not in (*MULTIPLYING, "BatchNormalization"):
            continue
        if behind.output[0] in graph.index.outputs:
            continue
        for use in graph.readers(behind.output[0]):
            reader = use.node
            fuses = reader.op_type in ACTIVATIONS or reader.op_type == "BatchNormalization"
            if fuses or (_is_sum(reader) and _fused_slot(graph, reader) == use.slot):
                yield before, behind, use


def _is_sum(node: onnx.NodeProto) -> bool:
    return node.op_type == "Add" and is_standard(node)


def _fused_slot(graph: QdqGraph, add: onnx.NodeProto) -> int | None:
    """Return the input of an Add whose convolution the sum fuses into; of two, the later one."""
    if any(graph.index.is_constant(name) for name in add.input) or add.input[0] == add.input[1]:
        return None
    positions = {node.output[0]: i for i, node in enumerate(graph.index.graph.node) if node.output}
    found = {}
    for slot in (0, 1):
        tensor = graph.float_tensor(add.input[slot])
        producer = graph.index.producers.get(tensor)
        if producer is not None and producer.op_type == "BatchNormalization" and is_standard(producer):
            producer = graph.index.producers.get(producer.input[0])
        if producer is None or producer.op_type not in CONVOLUTIONS or not is_standard(producer):
            continue
        if len(graph.readers(tensor)) == 1 and len(graph.readers(add.input[slot])) == 1:
            found[slot] = positions[producer.output[0]]
    return max(found, key=lambda slot: found[slot]) if found else None


def _bare_residuals(graph: QdqGraph) -> Iterator[Use]:
    for node in graph.index.graph.node:
        if _is_sum(node):
            fused = _fused_slot(graph, node)
            if fused is not None and graph.dequantize_behind(node.input[1 - fused]) is None:
                convolution = graph.index.producers.get(graph.float_tensor(node.input[fused]))
                if convolution is not None and any(graph.dequantize_behind(n) for n in convolution.input):
                    yield Use(node, 1 - fused)


def _concats(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Yield each Concat with the Q and DQ nodes of its inputs and output."""
    pairs = list(graph.pairs())
    for node in graph.index.graph.node:
        if node.op_type == "Concat" and is_standard(node):
            tensors = {graph.float_tensor(name) for name in node.input} | {node.output[0]}
            found = [linear for pair in pairs if pair[0].input[0] in tensors for linear in pair]
            if found:
                yield node, found

"""Rules for the operators that multiply: both operands in INT8, or the node stays float.

They say along which axis weights have scales, and which nodes are left alone.
"""

from __future__ import annotations

import onnx
from onnx import AttributeProto

from trt_int8.graph.activations import fused_activations as find_activations
from trt_int8.graph.index import attribute, label
from trt_int8.graph.operators import MULTIPLYING
from trt_int8.quantization.placement.draft import Draft, Weight


def bodies(draft: Draft) -> None:
    """If, Loop and Scan."""
    for node in draft.index.graph.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            draft.notes.append(f"{label(node)}: the body of {node.op_type} stays float")


def constant_operands(draft: Draft) -> None:
    """Nodes that compute a constant."""
    for node in draft.nodes:
        operands = [name for name in node.input[:2] if name]
        if operands and all(draft.constant(name) is not None for name in operands):
            draft.untouched.add(node.output[0])


def constant_addends(draft: Draft) -> None:
    """Add of a tensor and a constant: a bias, or a part of an activation function."""
    for node in draft.nodes:
        if node.op_type == "Add" and any(draft.constant(name) is not None for name in node.input):
            draft.untouched.add(node.output[0])


def fused_activations(draft: Draft) -> None:
    """The nodes an activation function is made of."""
    draft.untouched.update(find_activations(draft.index))


def per_channel(draft: Draft) -> None:
    """A scale for each output channel."""
    draft.per_channel = True


def per_channel_batches(draft: Draft) -> None:
    """Also for constant operands of MatMul with more than two dimensions."""
    draft.per_channel_batches = True


def weight_of(draft: Draft, node: onnx.NodeProto, slot: int) -> Weight:
    """The constant operand ``slot`` of ``node`` with the axis its scales run along."""
    values = draft.constant(node.input[slot])
    assert values is not None
    if not draft.per_channel:
        return Weight(slot, None)
    return Weight(slot, output_channels(node, slot, values.ndim, batches=draft.per_channel_batches))


def output_channels(node: onnx.NodeProto, slot: int, rank: int, *, batches: bool = False) -> int | None:
    """The axis of output channels of a constant operand; None where only one scale is allowed.

    Conv: 0. ConvTranspose: 1, whose entries a grouped one uses for several output channels: one scale.
    Gemm: 0 of B with transB = 1, else 1; the other way round for a constant A. MatMul: columns of a
    constant B, rows of a constant A; of batched ones only if ``batches``.
    """
    if rank < 2 or node.op_type not in MULTIPLYING:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        transposed = attribute(node, "transB" if slot == 1 else "transA", 0)
        return int(bool(transposed) != (slot == 1))
    if rank > 2 and not batches:
        return None
    return rank - 1 if slot == 1 else rank - 2


def convolution(draft: Draft) -> None:
    """Conv, grouped and depthwise ones too."""
    _all_of(draft, "Conv")


def transposed_convolution(draft: Draft) -> None:
    """ConvTranspose."""
    _all_of(draft, "ConvTranspose")


def gemm(draft: Draft) -> None:
    """Gemm; alpha and beta scale float results and need no attention."""
    _all_of(draft, "Gemm")


def matmul_weight(draft: Draft) -> None:
    """MatMul by a constant, on the left or on the right."""
    for node in _named(draft, "MatMul"):
        if any(draft.constant(name) is not None for name in node.input):
            _quantize(draft, node)


def matmul_activations(draft: Draft) -> None:
    """MatMul of two activations."""
    for node in _named(draft, "MatMul"):
        if all(draft.constant(name) is None for name in node.input):
            _quantize(draft, node)


def _all_of(draft: Draft, op_type: str) -> None:
    for node in _named(draft, op_type):
        _quantize(draft, node)


def _named(draft: Draft, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in draft.nodes if node.op_type == op_type]


def _quantize(draft: Draft, node: onnx.NodeProto) -> None:
    activations = tuple(slot for slot in (0, 1) if draft.constant(node.input[slot]) is None)
    weights = tuple(weight_of(draft, node, slot) for slot in (0, 1) if slot not in activations)
    draft.quantize(node, activations, weights)

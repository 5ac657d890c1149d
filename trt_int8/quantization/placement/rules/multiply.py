"""Rules for the operators that multiply: both operands in INT8, or the node stays float.

They also say along which axis weights have scales, and which nodes are left alone.
"""

from __future__ import annotations

from onnx import AttributeProto

from trt_int8.graph.activations import fused_activations as find_activations
from trt_int8.graph.index import label
from trt_int8.quantization.placement.draft import Draft, Weight
from trt_int8.quantization.placement.rule import RTX, TENSORRT, rule
from trt_int8.quantization.scales import output_channels


@rule("bodies", 100, "A body has no calibrated ranges.")
def bodies(draft: Draft) -> None:
    """Leave the bodies of If, Loop and Scan in float, and say so in a note."""
    for node in draft.index.graph.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            draft.notes.append(f"{label(node)}: the body of {node.op_type} stays float")


@rule("constant-operands", 110, "TensorRT folds it at build time.")
def constant_operands(draft: Draft) -> None:
    """Leave a node in float if all its operands are constant."""
    for node in draft.nodes:
        operands = [name for name in node.input[:2] if name]
        if operands and all(draft.constant(name) is not None for name in operands):
            draft.untouched.add(node.output[0])


@rule("constant-addends", 120, "measured: quantized scalars are refused.")
def constant_addends(draft: Draft) -> None:
    """Leave an Add with a constant operand in float: a bias, or a part of an activation function."""
    for node in draft.nodes:
        if node.op_type == "Add" and any(draft.constant(name) is not None for name in node.input):
            draft.untouched.add(node.output[0])


@rule("fused-activations", 130, "guide: leave activation functions for the builder to fuse.")
def fused_activations(draft: Draft) -> None:
    """Put no pair inside or before Relu, Clip, SiLU, HardSwish, LeakyRelu or GELU, even if several nodes
    compute the activation.
    """
    draft.untouched.update(find_activations(draft.index))


@rule("per-channel-weights", 230, "guide.")
def per_channel(draft: Draft) -> None:
    """Give weights a scale for each output channel."""
    draft.per_channel = True


@rule(
    "per-channel-batches", 240, "measured: INT8 there; the guide recommends it for matrices only.", only=RTX
)
def per_channel_batches(draft: Draft) -> None:
    """Give batched constant operands of MatMul per-channel scales, too."""
    draft.per_channel_batches = True


@rule("convolution", 300, "guide: quantize the inputs of weighted operations.")
def convolution(draft: Draft) -> None:
    """Quantize input and weight of Conv: plain, grouped, depthwise."""
    _quantize(draft, "Conv")


@rule("transposed-convolution", 310, "guide; measured: never INT8 in TensorRT-RTX.", only=TENSORRT)
def transposed_convolution(draft: Draft) -> None:
    """Quantize input and weight of ConvTranspose; a grouped one has one weight scale."""
    _quantize(draft, "ConvTranspose")


@rule("gemm", 320, "guide; measured: alpha and beta keep it in INT8.")
def gemm(draft: Draft) -> None:
    """Quantize both operands of Gemm, for all values of transA, transB, alpha and beta."""
    _quantize(draft, "Gemm")


@rule("matmul-weight", 330, "guide.")
def matmul_weight(draft: Draft) -> None:
    """Quantize both operands of a MatMul with one constant, on the left or on the right."""
    _quantize(draft, "MatMul", by_weight=True)


@rule("matmul-activations", 340, "guide; measured: one fused kernel, if both MatMuls have all pairs.")
def matmul_activations(draft: Draft) -> None:
    """Quantize both operands of a MatMul of two activations (attention)."""
    _quantize(draft, "MatMul", by_weight=False)


def _quantize(draft: Draft, op_type: str, *, by_weight: bool | None = None) -> None:
    """Quantize both operands of each ``op_type``; ``by_weight``: only with, or without, a constant one."""
    for node in [node for node in draft.nodes if node.op_type == op_type]:
        weights = []
        for slot in (0, 1):
            values = draft.constant(node.input[slot])
            if values is not None:
                axis = output_channels(node, slot, values.ndim, batches=draft.per_channel_batches)
                weights.append(Weight(slot, axis if draft.per_channel else None))
        if by_weight is None or by_weight == bool(weights):
            quantized = {weight.slot for weight in weights}
            draft.quantize(node, tuple(slot for slot in (0, 1) if slot not in quantized), tuple(weights))

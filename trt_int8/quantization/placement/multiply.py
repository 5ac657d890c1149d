"""Rules for the operators that multiply: both operands in INT8, or the node stays float."""

from __future__ import annotations

import onnx

from trt_int8.quantization.placement.draft import Draft
from trt_int8.quantization.placement.weights import weight_of


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

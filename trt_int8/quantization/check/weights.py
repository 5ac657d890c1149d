"""Weights of Q/DQ graphs: back to float, or quantized again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from trt_int8.model.graph import Use, attribute
from trt_int8.quantization.check.qdq import QdqGraph, axis_of, dequantized
from trt_int8.quantization.scales import quantize_int8, weight_scales


def to_float(graph: QdqGraph, node: onnx.NodeProto, uses: Iterable[Use] | None = None) -> None:
    """Let what reads a DequantizeLinear of constants, or ``uses`` of it, read their float values."""
    values, scales = graph.weight(node), graph.index.constant(node.input[1])
    assert values is not None
    if scales is None:
        return
    exact = dequantized(values, scales, graph.zero_point(node), axis_of(node) % max(values.ndim, 1))
    element = attribute(node, "output_dtype", 0)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element) if element else scales.dtype
    name = graph.add(f"{node.output[0]}_float", exact.astype(dtype))
    for use in graph.readers(node.output[0]) if uses is None else uses:
        use.node.input[use.slot] = name


def requantize(graph: QdqGraph, node: onnx.NodeProto, exact: np.ndarray) -> None:
    """Give a DequantizeLinear the float values ``exact``, with the scales that hold them."""
    values = graph.scale(node)
    axis = axis_of(node) % exact.ndim if values is not None and values.ndim else None
    scales = weight_scales(exact, axis)
    node.input[0] = graph.add(node.input[0], quantize_int8(exact, scales, axis))
    graph.set_parameters([node], scales, axis)

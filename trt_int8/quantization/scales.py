"""Arithmetic of symmetric INT8: x ≈ scale · q with q in [-128, 127] and zero point 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from trt_int8.graph.index import attribute
from trt_int8.graph.operators import MULTIPLYING
from trt_int8.graph.passes.opset_conversion import OUTPUT_DTYPE

#: float32, or what converts to it.
Array = npt.NDArray[np.generic]
#: Smaller float16 numbers lose bits (subnormal numbers), and below 6e-8 they are 0.
SMALLEST_FLOAT16 = float(np.finfo(np.float16).smallest_normal)


def scale_type(element: int, opset: int) -> int:
    """Return the ONNX type of the scales of a tensor with elements of type ``element``.

    float32 from opset 23 on, where DequantizeLinear has ``output_dtype``; before, the type of the tensor.
    """
    return TensorProto.FLOAT if opset >= OUTPUT_DTYPE else element


def weight_scales(weights: Array, axis: int | None) -> npt.NDArray[np.float32]:
    """Return max |w| / 127: per channel along ``axis`` (float32 [channels]), or one scale (None: rank 0).

    A channel of zeros, or one so small that its scale rounds to 0 in float32, gets scale 1: TensorRT refuses
    a scale of 0, and every scale is exact for zeros.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis) if axis is not None else None
    amax = np.abs(weights.astype(np.float64)).max(axis=others)
    scales = np.asarray(amax / 127, np.float32)
    return np.asarray(np.where(scales > 0, scales, np.float32(1)), np.float32)


def quantize_int8(
    values: Array, scales: npt.NDArray[np.float32], axis: int | None = None
) -> npt.NDArray[np.int8]:
    """Return round(values / scale), halves to even, clipped to [-128, 127] (ONNX QuantizeLinear, float32).

    Args:
        values: any shape.
        scales: float32, rank 0, or [channels] along ``axis``.
        axis: axis of the channels, for scales of rank 1.
    """
    if axis is not None:
        shape = [1] * values.ndim
        shape[axis] = -1
        scales = scales.reshape(shape)
    quotient = values.astype(np.float32) / scales
    return np.asarray(np.clip(np.rint(quotient), -128, 127), np.int8)


def output_channels(node: onnx.NodeProto, slot: int, rank: int, *, batches: bool = False) -> int | None:
    """Return the axis of output channels of a constant operand; None where only one scale is allowed.

    Conv: 0. ConvTranspose: 1; grouped, None, as an entry of axis 1 then serves several output channels.
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

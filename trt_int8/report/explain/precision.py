"""The precision of a layer. ``int8`` always means Int8 activations times Int8 weights."""

from __future__ import annotations

import math

from trt_int8.report.explain.kernels import dequantizes_first, multiplies
from trt_int8.report.records import Layer, Tensor

#: Kernel types that multiply all of their inputs.
_ATTENTION = ("mha", "attention")


def precision(layer: Layer, ops: dict[str, str]) -> str:
    """Return the precision of ``layer``; ``ops`` maps ONNX node names to operators, as far as known.

    - A kernel that multiplies is ``int8`` if every operand is Int8, and ``weight_dequantized`` if it reads
      Int8 but multiplies in float. Else it has the datatype of its activations.
    - If the source prints no weights (one-line layer information), Int8 activations are enough for ``int8``:
      up to TensorRT 10 no kernel multiplies Int8 activations by float weights.
    - Any other kernel that reads an Int8 activation is ``int8_io``. Else it has the datatype that it reads.
    """
    if multiplies(layer, ops):
        read = [tensor.dtype for tensor in operands(layer)]
        if layer.weights is not None:
            read = [*read[:1], layer.weights]
        if not read:
            return layer.outputs[0].dtype if layer.outputs else "unknown"
        if all(dtype == "int8" for dtype in read):
            return "weight_dequantized" if dequantizes_first(layer) else "int8"
        if "int8" in read:
            return "weight_dequantized"
        return read[0]
    if any(tensor.dtype == "int8" for tensor in layer.inputs):
        return "int8_io"
    if layer.inputs:
        return layer.inputs[0].dtype
    return layer.outputs[0].dtype if layer.outputs else "unknown"


def operands(layer: Layer) -> tuple[Tensor, ...]:
    """Return the tensors that are multiplied: activations, then weights or the second activations.

    Scalars (alpha, beta), per-channel scales and biases are left out.
    """
    inputs = tuple(tensor for tensor in layer.inputs if not _is_scalar(tensor)) or layer.inputs
    if any(word in layer.type.lower() or word in layer.name.lower() for word in _ATTENTION):
        return inputs
    weights = [tensor for tensor in layer.constants if is_weight(tensor)]
    if weights:
        return (*inputs[:1], max(weights, key=_elements))
    if len(inputs) > 1 and _inputs_hold_weights(layer):
        # TensorRT 10 prints Myelin's constants among the inputs: the largest one after the activations.
        return (inputs[0], max(inputs[1:], key=_elements))
    return inputs[:1]


def is_weight(tensor: Tensor) -> bool:
    """Tell weights from scalars, biases and vectors of scales (``[1, C, 1, 1]``)."""
    dims = tensor.dims
    if dims is None or len(dims) < 2:
        return False
    return sum(size > 1 for size in dims) >= 2 or (dims[0] > 1 and len(dims) > 1)


def _inputs_hold_weights(layer: Layer) -> bool:
    """TensorRT's own convolutions do not list their weights; their second input is the residual."""
    type_ = layer.type.lower()
    if type_ in ("correlation", "deconv", "kgen"):
        return True
    return "conv" not in type_ and ("gemm" in type_ or "matrixmultiply" in type_ or "matmul" in type_)


def _is_scalar(tensor: Tensor) -> bool:
    return tensor.dims is not None and all(size == 1 for size in tensor.dims) and len(tensor.dims) <= 1


def _elements(tensor: Tensor) -> int:
    return abs(math.prod(tensor.dims or ()))

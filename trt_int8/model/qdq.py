"""Whether a model is quantized explicitly."""

from __future__ import annotations

import onnx

#: The operators that quantize explicitly.
QDQ = ("QuantizeLinear", "DequantizeLinear")


def has_qdq(model: onnx.ModelProto) -> bool:
    """Whether the model holds Q/DQ nodes at its top level."""
    return any(node.op_type in QDQ for node in model.graph.node)

"""Whether a model is quantized explicitly."""

from __future__ import annotations

import onnx

from trt_int8.model.operators import QDQ


def has_qdq(model: onnx.ModelProto) -> bool:
    """Whether the model holds Q/DQ nodes at its top level."""
    return any(node.op_type in QDQ for node in model.graph.node)

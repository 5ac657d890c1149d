"""Hold a Q/DQ model made here against what TensorRT refuses, before anyone sees it."""

from __future__ import annotations

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.quantization.check.check import findings
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.check.table import CHECKS


def refuse_what_tensorrt_refuses(model: onnx.ModelProto) -> None:
    """Pass a model that TensorRT's parser takes.

    Raises:
        QuantizationError: a non-zero zero point, uint8, DQ on INT32, scales per channel below opset 13, a
            scale of zero, an unread pair, …: a mistake in this package, to be reported.
    """
    graph = QdqGraph(model)
    strict = [
        check
        for check in CHECKS
        if check.severity == "refused" or check.name in ("weight-axis", "unread-pair")
    ]
    found = [finding for check in strict for finding in findings(check, graph)]
    if found:
        raise QuantizationError(
            "the quantized model is not one TensorRT takes, which should not happen; please report it: "
            + "; ".join(f"{finding.node}: {finding.message}" for finding in found[:3])
        )

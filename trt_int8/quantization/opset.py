"""Bring a model to an opset that has per-channel QuantizeLinear."""

from __future__ import annotations

import onnx
from onnx import version_converter

from trt_int8.errors import QuantizationError

#: The first opset whose QuantizeLinear and DequantizeLinear have an axis.
MINIMUM = 13
_MINIMUM_IR = 7


def with_minimum_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` at opset 13 or later (converted by onnx's converter only if it is older).

    Raises:
        QuantizationError: the converter fails, or its result does not pass the checker.
    """
    copy = onnx.ModelProto()
    version = opset_version(model)
    if version >= MINIMUM:
        copy.CopyFrom(model)
        return copy
    try:
        converted = version_converter.convert_version(model, MINIMUM)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise QuantizationError(
            f"the model has opset {version}, Q/DQ needs {MINIMUM}, and onnx cannot convert it "
            f"({str(error).strip().splitlines()[0]}); export it again with opset {MINIMUM} or later"
        ) from error
    copy.CopyFrom(converted)
    copy.ir_version = max(copy.ir_version, _MINIMUM_IR)
    return copy


def opset_version(model: onnx.ModelProto) -> int:
    """The opset of the standard operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)

"""Bring a model to an opset that has per-channel QuantizeLinear."""

from __future__ import annotations

import onnx
from onnx import version_converter

from trt_int8.errors import QuantizationError
from trt_int8.model.graph import GraphIndex, opset_version
from trt_int8.model.passes import upsample_conversion

#: The first opset whose QuantizeLinear and DequantizeLinear have an axis.
MINIMUM = 13
#: … take float16 and bfloat16.
HALF = 19
#: … take scales of another type than the tensor, and DequantizeLinear an ``output_dtype``.
OUTPUT_DTYPE = 23
#: The first IR version that knows an opset, as onnx pairs them.
_IR_VERSIONS = {MINIMUM: 7, HALF: 9, OUTPUT_DTYPE: 11}


def with_minimum_opset(model: onnx.ModelProto, minimum: int = MINIMUM) -> onnx.ModelProto:
    """A copy of ``model`` at opset ``minimum`` or later (converted by onnx's converter only if it is older).

    The result passes the checker and has every tensor of the model, so that ranges by name still fit.

    Raises:
        QuantizationError: the converter fails, or its result is not as above.
    """
    copy = onnx.ModelProto()
    version = opset_version(model)
    if version >= minimum:
        copy.CopyFrom(model)
        # Before IR 4 each initializer had to be an input as well; the ones to come will not be.
        copy.ir_version = max(copy.ir_version, _IR_VERSIONS[minimum])
        return copy
    try:
        converted = version_converter.convert_version(model, minimum)
        converted.ir_version = max(converted.ir_version, _IR_VERSIONS[minimum])
        if not converted.functions:  # the converter drops them
            converted.functions.extend(model.functions)
        if version <= upsample_conversion.LAST:
            upsample_conversion.convert_upsample(converted, original=model)
        onnx.checker.check_model(converted, full_check=True)
    except (
        RuntimeError,
        ValueError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise _refusal(version, minimum, str(error).strip().splitlines()[0]) from error
    lost = sorted(set(GraphIndex(model).order) - set(GraphIndex(converted).order))
    if lost or _interface(model) != _interface(converted):
        raise _refusal(version, minimum, f"it lost or changed {', '.join(lost[:5]) or 'inputs or outputs'}")
    copy.CopyFrom(converted)
    return copy


def _interface(model: onnx.ModelProto) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return GraphIndex(model).inputs, tuple(output.name for output in model.graph.output)


def _refusal(version: int, minimum: int, why: str) -> QuantizationError:
    return QuantizationError(
        f"the model has opset {version}, Q/DQ needs {minimum} here, and onnx cannot convert it ({why}); "
        f"export it again with opset {minimum} or later"
    )

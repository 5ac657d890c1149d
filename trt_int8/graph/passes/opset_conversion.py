"""Convert a model to an opset that has per-channel QuantizeLinear.

Resize and Upsample need care, because they have other semantics up to opset 10.
"""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, all_nodes, opset_version

#: The last opset whose Resize and Upsample map positions as in `_MAPPING`.
LAST = 10
_MAPPING = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def convert_upsample(model: onnx.ModelProto, *, original: onnx.ModelProto) -> bool:
    """Restore the semantics and the names of each Resize that onnx's converter made.

    The output of an Upsample gets its name back if its consumers identify it.

    Args:
        model: the converter's result for ``original``; changed in place.
        original: the model at opset `LAST` or earlier.
    """
    changed = False
    for node in all_nodes(model.graph):
        if node.op_type == "Resize":
            kept = [entry for entry in node.attribute if entry.name not in _MAPPING]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(helper.make_attribute(name, value) for name, value in _MAPPING.items())
            changed = True
    before = GraphIndex(original)
    # From the last to the first: a consumer is found by its output, whose name may have to be restored too.
    for upsample in reversed([node for node in original.graph.node if node.op_type == "Upsample"]):
        _rename(model, upsample, before)
    return changed


def _rename(converted: onnx.ModelProto, upsample: onnx.NodeProto, before: GraphIndex) -> None:
    after, name = GraphIndex(converted), upsample.output[0]
    found = set()
    for use in before.consumers.get(name, ()):
        reader = after.producers.get(use.node.output[0])
        if reader is not None and use.slot < len(reader.input):
            found.add(reader.input[use.slot])
    if name in after.names or len(found) != 1:
        return
    (new,) = found
    resize = after.producers.get(new)
    if resize is None or resize.op_type != "Resize":
        return
    resize.name, resize.output[0] = upsample.name, name
    for use in after.consumers[new]:
        use.node.input[use.slot] = name
    for value in converted.graph.value_info:
        if value.name == new:
            value.name = name


#: The first opset whose QuantizeLinear and DequantizeLinear have an axis.
MINIMUM = 13
#: The first opset whose QuantizeLinear and DequantizeLinear accept float16 and bfloat16.
HALF = 19
#: The first opset in which scales may have another type than the tensor, with an ``output_dtype``.
OUTPUT_DTYPE = 23
_INVALID = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError)
#: Opset → its IR version in onnx.
_IR_VERSIONS = {MINIMUM: 7, HALF: 9, OUTPUT_DTYPE: 11}


def with_minimum_opset(model: onnx.ModelProto, minimum: int = MINIMUM) -> onnx.ModelProto:
    """Return a copy of ``model`` at opset ``minimum`` or later; only an older model is converted.

    The result passes the checker and has every tensor of the model, so that ranges by name still fit.

    Raises:
        QuantizationError: the converter fails, or its result lacks a tensor.
    """
    copy = onnx.ModelProto()
    version = opset_version(model)
    if version >= minimum:
        copy.CopyFrom(model)
        # Before IR 4 each initializer had to be an input as well; new initializers will not be.
        copy.ir_version = max(copy.ir_version, _IR_VERSIONS[minimum])
        return copy
    try:
        converted = version_converter.convert_version(model, minimum)
        converted.ir_version = max(converted.ir_version, _IR_VERSIONS[minimum])
        if not converted.functions:  # the converter drops them
            converted.functions.extend(model.functions)
        if version <= LAST:
            convert_upsample(converted, original=model)
        onnx.checker.check_model(converted, full_check=True)
    except (RuntimeError, ValueError, *_INVALID) as error:
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
        f"the model has opset {version}; these Q/DQ nodes need opset {minimum} or later, and onnx cannot "
        f"convert the model ({why}); export it again with opset {minimum} or later"
    )

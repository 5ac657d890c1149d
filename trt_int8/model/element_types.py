"""Element types and shapes of the tensors of a model, as far as shape inference finds them."""

from __future__ import annotations

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.model.load import serialized_size


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor → ``onnx.TensorProto`` element type.

    Raises:
        QuantizationError: shape inference finds a contradiction in the model.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in _inferred(model)}
    types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    return {name: element for name, element in types.items() if element}


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Tensor → its shape, of those that have the same one whatever is fed; a size of 0 stands for any.

    Raises:
        QuantizationError: shape inference finds a contradiction in the model.
    """
    found = {}
    for value in _inferred(model):
        tensor = value.type.tensor_type
        sizes = [d.dim_value for d in tensor.shape.dim]  # 0 where it is symbolic
        if tensor.HasField("shape") and min(sizes, default=1) > 0:
            found[value.name] = tuple(sizes)
    return found


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    try:
        graph = onnx.shape_inference.infer_shapes(_without_values(model)).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise QuantizationError(f"the types of the model contradict each other: {error}") from error
    return [*graph.input, *graph.value_info, *graph.output]


def _without_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights as inputs: inference stays below protobuf's limit of 2 GiB."""
    light = onnx.ModelProto()
    if serialized_size(model) < 2**30:
        light.CopyFrom(model)
        return light
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    light.graph.input.extend(model.graph.input)
    listed = {value.name for value in model.graph.input}
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name not in listed
    )
    return light

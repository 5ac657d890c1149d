"""Find constant values, element types, static shapes and shared ranges without running the model.

Initializers and Constant nodes are constant, and so are the outputs of nodes that only rearrange them. Types
and shapes come from shape inference, which may not find all.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, is_standard
from trt_int8.graph.load import serialized_size
from trt_int8.graph.operators import PASSING, REARRANGING, VIEWS


class ConstantOperands:
    """Values of constant tensors, rearranged ones included. Each is computed once."""

    def __init__(self, index: GraphIndex, opset: int) -> None:
        self._index = index
        self._opset = opset
        self._values: dict[str, npt.NDArray[np.generic] | None] = {}

    def value(self, tensor: str) -> npt.NDArray[np.generic] | None:
        """Return the value of ``tensor``; None if it depends on an input."""
        if not tensor:
            return None
        if tensor not in self._values:
            self._values[tensor] = self._find(tensor)
        return self._values[tensor]

    def _find(self, tensor: str) -> npt.NDArray[np.generic] | None:
        if self._index.is_constant(tensor):
            return self._index.constant(tensor)
        node = self._index.producers.get(tensor)
        if node is None or node.op_type not in REARRANGING or not is_standard(node):
            return None
        inputs = {name: self.value(name) for name in node.input if name}
        known = {name: value for name, value in inputs.items() if value is not None}
        if len(known) < len(inputs):
            return None
        return np.asarray(evaluate_node(node, known, self._opset)[tensor])


def evaluate_node(
    node: onnx.NodeProto, inputs: Mapping[str, npt.NDArray[np.generic]], opset: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Compute output → value of one node by ONNX's reference implementation, which may raise any error."""
    outputs = [name for name in node.output if name]
    read, made = ([onnx.ValueInfoProto(name=name) for name in names] for names in (inputs, outputs))
    graph = helper.make_graph([node], "constant", read, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return dict(zip(outputs, ReferenceEvaluator(model).run(None, dict(inputs)), strict=True))


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return tensor → ``onnx.TensorProto`` element type.

    Raises:
        QuantizationError: shape inference finds a contradiction in the model.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in _inferred(model)}
    types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    return {name: element for name, element in types.items() if element}


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return tensor → shape of those whose shape does not depend on the inputs.

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
    """Return a model with inputs for weights if it is large: inference must stay below protobuf's 2 GiB."""
    light = onnx.ModelProto()
    if serialized_size(model) < 2**30:
        light.CopyFrom(model)
        return light
    light.ir_version = model.ir_version
    light.graph.name = model.graph.name
    for part in ("opset_import", "functions"):
        getattr(light, part).extend(getattr(model, part))
    for part in ("node", "output", "input"):
        getattr(light.graph, part).extend(getattr(model.graph, part))
    listed = {value.name for value in model.graph.input}
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name not in listed
    )
    return light


def tied_outputs(index: GraphIndex, tensors: Container[str]) -> dict[str, str]:
    """Return each output of a passing operator with the first tensor of its chain that is in ``tensors``."""
    return _chains(index, PASSING, tensors)


def view_outputs(index: GraphIndex) -> dict[str, str]:
    """Return each output of a view operator with the tensor at the start of its chain of views."""
    return _chains(index, VIEWS, {name for name in index.order if not index.is_constant(name)})


def _chains(index: GraphIndex, operators: Container[str], tensors: Container[str]) -> dict[str, str]:
    roots: dict[str, str] = {}
    # A tensor outside ``tensors`` continues the chain, whose start may be inside.
    start: dict[str, str] = {}
    for node in index.graph.node:
        if node.op_type in operators and is_standard(node) and node.input:
            source, output = node.input[0], node.output[0]
            root = start.get(source, source)
            if root not in tensors:
                root = output
            start[output] = root
            if root != output and output in tensors:
                roots[output] = root
    return roots

"""Operands that depend on constants only: initializers, Constant nodes, and what merely rearranges them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from trt_int8.model.graph import GraphIndex, is_standard
from trt_int8.model.operators import REARRANGING


class ConstantOperands:
    """Values of constant tensors, those behind rearranging nodes included, computed once each."""

    def __init__(self, index: GraphIndex, opset: int) -> None:
        self._index = index
        self._opset = opset
        self._values: dict[str, npt.NDArray[np.generic] | None] = {}

    def value(self, tensor: str) -> npt.NDArray[np.generic] | None:
        """The value of ``tensor``; None if it depends on an input."""
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
        return np.asarray(evaluate(node, known, self._opset)[tensor])


def evaluate(
    node: onnx.NodeProto, inputs: Mapping[str, npt.NDArray[np.generic]], opset: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Output → value of one node, by ONNX's reference implementation, which raises anything."""
    outputs = [name for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "constant",
        [onnx.ValueInfoProto(name=name) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return dict(zip(outputs, ReferenceEvaluator(model).run(None, dict(inputs)), strict=True))

"""Insert Q/DQ pairs into a graph where the caller says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_int8.graph.index import GraphIndex, Names, opset_version
from trt_int8.quantization.scales import quantize_int8, scale_type, weight_scales


class QdqWriter:
    """Rewires inputs of nodes of ``model``; `finish` completes the change, which is made in place.

    A tensor gets one Q/DQ pair, even if several inputs read it; other consumers keep the float tensor. A
    weight becomes one int8 initializer with a DequantizeLinear for each axis of scales; the float original
    is removed when it has no consumer left.

    Args:
        model: the float model.
        types: tensor → ONNX element type, if it is not float32.
        index: of ``model`` as it is.
    """

    def __init__(self, model: onnx.ModelProto, types: Mapping[str, int], *, index: GraphIndex) -> None:
        self._model = model
        self._types = types
        self._opset = opset_version(model)
        self._names = Names(index)
        self._initializers: list[onnx.TensorProto] = []
        # first output of a node → new nodes before it
        self._before = defaultdict[str, list[onnx.NodeProto]](list)
        self._activations: dict[str, str] = {}
        self._weights: dict[tuple[str, int | None], str] = {}

    def activation(self, node: onnx.NodeProto, slot: int, scale: np.float32) -> None:
        """Make input ``slot`` of ``node`` read its tensor through Q/DQ with ``scale``."""
        tensor = node.input[slot]
        if tensor not in self._activations:
            element = self._types.get(tensor, TensorProto.FLOAT)
            parameters = self._parameters(tensor, np.asarray(scale, np.float32), element)
            quantized = self._names.fresh(f"{tensor}_quantized")
            name = self._names.fresh(f"{tensor}_Q")
            new = helper.make_node("QuantizeLinear", [tensor, *parameters], [quantized], name)
            self._before[node.output[0]].append(new)
            self._activations[tensor] = self._dequantize(node, tensor, quantized, parameters, element, None)
        node.input[slot] = self._activations[tensor]

    def weight(
        self, node: onnx.NodeProto, slot: int, axis: int | None, values: npt.NDArray[np.generic]
    ) -> None:
        """Make input ``slot`` of ``node`` read ``values`` as INT8, per channel along ``axis``."""
        tensor = node.input[slot]
        if (tensor, axis) not in self._weights:
            scales = weight_scales(values, axis)
            element = helper.np_dtype_to_tensor_dtype(values.dtype)
            parameters = self._parameters(tensor, scales, element)
            quantized = self._names.fresh(f"{tensor}_quantized")
            self._add_initializer(quantize_int8(values, scales, axis), quantized)
            self._weights[(tensor, axis)] = self._dequantize(
                node, tensor, quantized, parameters, element, axis
            )
        node.input[slot] = self._weights[(tensor, axis)]

    def finish(self) -> None:
        """Write everything into the model; nodes stay in topological order."""
        graph = self._model.graph
        nodes = [
            new
            for node in graph.node
            for new in [*self._before.get(node.output[0] if node.output else "", []), node]
        ]
        rewritten = [onnx.NodeProto() for _ in nodes]
        for target, node in zip(rewritten, nodes, strict=True):
            target.CopyFrom(node)
        del graph.node[:]
        graph.node.extend(rewritten)
        graph.initializer.extend(self._initializers)
        self._remove_unused({tensor for tensor, _ in self._weights})

    def _dequantize(
        self,
        node: onnx.NodeProto,
        tensor: str,
        quantized: str,
        parameters: tuple[str, str],
        element: int,
        axis: int | None,
    ) -> str:
        dequantized = self._names.fresh(f"{tensor}_dequantized")
        new = helper.make_node(
            "DequantizeLinear", [quantized, *parameters], [dequantized], self._names.fresh(f"{tensor}_DQ")
        )
        if axis is not None:
            new.attribute.append(helper.make_attribute("axis", axis))
        if scale_type(element, self._opset) != element:
            new.attribute.append(helper.make_attribute("output_dtype", element))
        self._before[node.output[0]].append(new)
        return dequantized

    def _remove_unused(self, candidates: set[str]) -> None:
        """Remove the constants among ``candidates`` that have no consumer left, and their own inputs."""
        graph = self._model.graph
        while candidates:
            index = GraphIndex(self._model)
            unused = candidates - {*index.consumers, *index.outputs, *index.used_in_bodies}
            for entries in (graph.initializer, graph.input):
                for entry in [entry for entry in entries if entry.name in unused]:
                    entries.remove(entry)
            made = [node for node in graph.node if len(node.output) == 1 and node.output[0] in unused]
            candidates = {name for node in made for name in node.input if name}
            for node in made:
                graph.node.remove(node)

    def _parameters(self, tensor: str, scale: npt.NDArray[np.float32], element: int) -> tuple[str, str]:
        names = self._names.fresh(f"{tensor}_scale"), self._names.fresh(f"{tensor}_zero_point")
        dtype = helper.tensor_dtype_to_np_dtype(scale_type(element, self._opset))
        self._add_initializer(scale.astype(dtype), names[0])
        self._add_initializer(np.zeros(scale.shape, np.int8), names[1])
        return names

    def _add_initializer(self, values: npt.NDArray[np.generic], name: str) -> None:
        self._initializers.append(numpy_helper.from_array(values, name))

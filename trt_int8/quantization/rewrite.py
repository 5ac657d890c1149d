"""Insert Q/DQ pairs into a graph: the mechanics, without a word about where they belong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trt_int8.model.graph import GraphIndex
from trt_int8.quantization.scales import quantize_int8, weight_scales


class QdqWriter:
    """Rewires inputs of nodes of ``model``, which is changed in place by `finish`.

    A tensor gets one Q/DQ pair however many inputs read it; other readers keep the float tensor. A
    weight becomes an int8 initializer with a DequantizeLinear per axis it is read along; the float
    original goes when nothing reads it any more.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._index = GraphIndex(model)
        self._taken = set(self._index.names)
        self._initializers: list[onnx.TensorProto] = []
        self._before: dict[int, list[onnx.NodeProto]] = {}
        self._activations: dict[str, str] = {}
        self._weights: dict[tuple[str, int | None], str] = {}

    def activation(self, node: onnx.NodeProto, slot: int, scale: np.float32) -> None:
        """Make input ``slot`` of ``node`` read its tensor through Q/DQ with ``scale``."""
        tensor = node.input[slot]
        if tensor not in self._activations:
            parameters = self._parameters(tensor, np.asarray(scale, np.float32))
            quantized, dequantized = self._name(f"{tensor}_quantized"), self._name(f"{tensor}_dequantized")
            self._before.setdefault(id(node), []).extend(
                [
                    helper.make_node(
                        "QuantizeLinear", [tensor, *parameters], [quantized], self._name(f"{tensor}_Q")
                    ),
                    helper.make_node(
                        "DequantizeLinear",
                        [quantized, *parameters],
                        [dequantized],
                        self._name(f"{tensor}_DQ"),
                    ),
                ]
            )
            self._activations[tensor] = dequantized
        node.input[slot] = self._activations[tensor]

    def weight(
        self, node: onnx.NodeProto, slot: int, axis: int | None, values: npt.NDArray[np.generic]
    ) -> None:
        """Make input ``slot`` of ``node`` read ``values`` as INT8, per channel along ``axis``."""
        tensor = node.input[slot]
        if (tensor, axis) not in self._weights:
            scales = weight_scales(values, axis)
            parameters = self._parameters(tensor, scales)
            quantized, dequantized = self._name(f"{tensor}_quantized"), self._name(f"{tensor}_dequantized")
            self._add_initializer(quantize_int8(values, scales, axis), quantized)
            dequantize = helper.make_node(
                "DequantizeLinear", [quantized, *parameters], [dequantized], self._name(f"{tensor}_DQ")
            )
            if axis is not None:
                dequantize.attribute.append(helper.make_attribute("axis", axis))
            self._before.setdefault(id(node), []).append(dequantize)
            self._weights[(tensor, axis)] = dequantized
        node.input[slot] = self._weights[(tensor, axis)]

    def finish(self) -> None:
        """Write everything into the model; nodes stay in topological order."""
        graph = self._model.graph
        nodes = [new for node in graph.node for new in [*self._before.get(id(node), []), node]]
        rewritten = [onnx.NodeProto() for _ in nodes]
        for target, node in zip(rewritten, nodes, strict=True):
            target.CopyFrom(node)
        del graph.node[:]
        graph.node.extend(rewritten)
        graph.initializer.extend(self._initializers)
        self._drop_unread_weights()

    def _drop_unread_weights(self) -> None:
        graph = self._model.graph
        index = GraphIndex(self._model)
        originals = {tensor for tensor, _ in self._weights}
        unread = {
            tensor
            for tensor in originals
            if tensor not in index.consumers
            and tensor not in index.outputs
            and tensor not in index.used_in_bodies
        }
        for entries in (graph.initializer, graph.input):
            for entry in [entry for entry in entries if entry.name in unread]:
                entries.remove(entry)
        for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] in unread]:
            graph.node.remove(node)

    def _parameters(self, tensor: str, scale: npt.NDArray[np.float32]) -> tuple[str, str]:
        names = self._name(f"{tensor}_scale"), self._name(f"{tensor}_zero_point")
        self._add_initializer(scale, names[0])
        self._add_initializer(np.zeros(scale.shape, np.int8), names[1])
        return names

    def _add_initializer(self, values: npt.NDArray[np.generic], name: str) -> None:
        self._initializers.append(numpy_helper.from_array(values, name))

    def _name(self, wanted: str) -> str:
        """``wanted``, or with a number behind it if the model has that name already."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

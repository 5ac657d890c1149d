"""Read and change a Q/DQ graph: parameters of pairs, their consumers, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trt_int8.graph.index import GraphIndex, Names, Use, attribute
from trt_int8.graph.passes.subgraph import remove_unused
from trt_int8.quantization.scales import quantize_int8, weight_scales

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: How to repair what lacks a range.
NOT_CALIBRATED = "its range has to be calibrated: start from the float model"
Array = npt.NDArray[np.generic]


class QdqGraph:
    """The graph of a model with Q/DQ nodes; methods change the model, and `refresh` reads it again."""

    def __init__(self, model: onnx.ModelProto, index: GraphIndex | None = None) -> None:
        self.model = model
        self.index = index or GraphIndex(model)
        self._names = Names(self.index)

    def refresh(self) -> None:
        self.index = GraphIndex(self.model)

    @property
    def linear(self) -> list[onnx.NodeProto]:
        """All QuantizeLinear and DequantizeLinear nodes that have a scale, in order."""
        return [node for node in self.index.graph.node if _is(node, QUANTIZE) or _is(node, DEQUANTIZE)]

    def scale(self, node: onnx.NodeProto) -> npt.NDArray[np.floating] | None:
        """Return the scale as float64, any rank; None if it is computed."""
        value = self.index.constant(node.input[1])
        return None if value is None else value.astype(np.float64)

    def zero_point(self, node: onnx.NodeProto) -> Array | None:
        """Return the zero point; None if there is none, or it is computed."""
        return self.index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def weight(self, node: onnx.NodeProto) -> Array | None:
        """Return the constant integers that a DequantizeLinear reads; None for any other node."""
        return self.index.constant(node.input[0]) if _is(node, DEQUANTIZE) else None

    def readers(self, tensor: str) -> list[Use]:
        return self.index.consumers.get(tensor, [])

    def dequantize_behind(self, tensor: str) -> onnx.NodeProto | None:
        """Return the DequantizeLinear that computes ``tensor``, or None."""
        node = self.index.producers.get(tensor)
        return node if node is not None and _is(node, DEQUANTIZE) else None

    def quantize_behind(self, dequantize: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the QuantizeLinear before a DequantizeLinear; None for weights."""
        node = self.index.producers.get(dequantize.input[0])
        return node if node is not None and _is(node, QUANTIZE) else None

    def pairs(self) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
        """Yield each QuantizeLinear with a DequantizeLinear behind it."""
        for node in self.linear:
            if node.op_type == DEQUANTIZE:
                before = self.quantize_behind(node)
                if before is not None:
                    yield before, node

    def float_tensor(self, tensor: str) -> str:
        """Return the float tensor before the pair of ``tensor``; itself if there is no pair."""
        node = self.dequantize_behind(tensor)
        before = None if node is None else self.quantize_behind(node)
        return tensor if before is None else before.input[0]

    def set_parameters(
        self, nodes: Iterable[onnx.NodeProto], scale: npt.ArrayLike, axis: int | None = None
    ) -> None:
        """Give nodes a scale of rank 0, or rank 1 along ``axis``, zero points of 0 and the type INT8."""
        values = np.asarray(scale)
        nodes = list(nodes)
        for node in nodes:
            element = self.index.constant(node.input[1])
            dtype = np.float32 if element is None else element.dtype
            names = [self.add(node.input[1], values.astype(dtype))]
            names.append(self.add(f"{node.output[0]}_zero_point", np.zeros(values.shape, np.int8)))
            inputs = [node.input[0], *names]
            del node.input[:]
            node.input.extend(inputs)
            kept = [a for a in node.attribute if a.name not in ("axis", "output_dtype") or _is_float(a)]
            del node.attribute[:]
            node.attribute.extend(kept)
            if axis is not None:
                node.attribute.append(helper.make_attribute("axis", axis))

    def add(self, wanted: str, values: Array) -> str:
        """Add an initializer; return its name."""
        name = self._names.fresh(wanted)
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def fresh(self, wanted: str) -> str:
        return self._names.fresh(wanted)

    def insert_before(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """Put ``new`` in front of ``node``."""
        nodes = self.model.graph.node
        nodes.insert(next(i for i, other in enumerate(nodes) if list(other.output) == list(node.output)), new)

    def bypass(self, dequantize: onnx.NodeProto) -> None:
        """Let all consumers of a pair read the float tensor before it."""
        before = self.quantize_behind(dequantize)
        assert before is not None
        for use in self.readers(dequantize.output[0]):
            use.node.input[use.slot] = before.input[0]

    def prune(self) -> None:
        """Remove Q/DQ nodes and constants without a consumer."""
        graph = self.model.graph
        while True:
            self.refresh()
            read = {*self.index.consumers, *self.index.outputs, *self.index.used_in_bodies}
            unused = [node for node in self.linear if not read & set(node.output)]
            for node in unused:
                graph.node.remove(node)
            if not unused:
                break
        remove_unused(self.model, index=self.index)
        self.refresh()


def axis_of(node: onnx.NodeProto) -> int:
    """Return the axis of a Q or DQ node with a scale of rank 1."""
    return attribute(node, "axis", 1)


def dequantized(values: Array, scale: Array, zero_point: Array | None, axis: int) -> npt.NDArray[np.float64]:
    """Return (values − zero point) · scale."""

    def along(parameter: Array) -> npt.NDArray[np.float64]:
        shape = [1] * values.ndim
        if parameter.ndim == 1 and values.ndim:
            shape[axis] = -1
        return parameter.astype(np.float64).reshape(shape if parameter.ndim else ())

    shift = along(zero_point) if zero_point is not None else 0.0
    return np.asarray((values.astype(np.float64) - shift) * along(scale))


def _is_float(attribute_: onnx.AttributeProto) -> bool:
    """Return whether an attribute is the float ``output_dtype`` of a DequantizeLinear, which stays."""
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return attribute_.name == "output_dtype" and attribute_.i in floats


def to_float(graph: QdqGraph, node: onnx.NodeProto, uses: Iterable[Use] | None = None) -> None:
    """Let the consumers of a DequantizeLinear of constants, or ``uses`` of it, read the float values."""
    values, scales = graph.weight(node), graph.index.constant(node.input[1])
    assert values is not None
    if scales is None:
        return
    exact = dequantized(values, scales, graph.zero_point(node), axis_of(node) % max(values.ndim, 1))
    element = attribute(node, "output_dtype", 0)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element) if element else scales.dtype
    name = graph.add(f"{node.output[0]}_float", exact.astype(dtype))
    for use in graph.readers(node.output[0]) if uses is None else uses:
        use.node.input[use.slot] = name


def requantize(graph: QdqGraph, node: onnx.NodeProto, exact: np.ndarray) -> None:
    """Give a DequantizeLinear the float values ``exact``, with new scales."""
    values = graph.scale(node)
    axis = axis_of(node) % exact.ndim if values is not None and values.ndim else None
    scales = weight_scales(exact, axis)
    node.input[0] = graph.add(node.input[0], quantize_int8(exact, scales, axis))
    graph.set_parameters([node], scales, axis)


def _is(node: onnx.NodeProto, operator: str) -> bool:
    """Return whether ``node`` quantizes or dequantizes: one of another domain may have no scale."""
    return node.op_type == operator and len(node.input) > 1

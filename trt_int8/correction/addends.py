"""Add constants to the output of a node: in its bias where that is possible, else in an Add behind it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trt_int8.graph.index import GraphIndex, Names, attribute

Array = npt.NDArray[np.generic]


class Addends:
    """Adds constants in ``model``, in place; a node is given by its first output, which keeps its name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._index = GraphIndex(model)
        self.names = Names(self._index)
        self._added: dict[str, Array] = {}

    def constant(self, values: Array, name: str) -> str:
        """Add an initializer; return its name."""
        fresh = self.names.fresh(name)
        self._added[fresh] = np.asarray(values)
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), fresh))
        return fresh

    def has_room(self, output: str) -> bool:
        """Return whether a bias can be added to ``output`` without a new node."""
        node = self._index.producers[output]
        return self._has_room(node) or (node.op_type == "MatMul" and self._bias_behind(output) is not None)

    def add_per_channel(self, output: str, values: npt.NDArray[np.float64]) -> None:
        """Add ``values`` [output channels] to tensor ``output`` of a Conv, Gemm or MatMul."""
        node = self._index.producers[output]
        if self._has_room(node):
            bias = self._bias(node)
            for beta in [a for a in node.attribute if a.name == "beta"]:
                bias = beta.f * bias
                node.attribute.remove(beta)
            self._set_bias(node, bias + values)
        elif node.op_type == "MatMul" and (behind := self._bias_behind(output)) is not None:
            add, slot = behind
            bias = np.asarray(self._constant(add.input[slot]), np.float64) + values
            add.input[slot] = self.constant(bias.astype(self._dtype(add, slot)), f"{add.output[0]}_bias")
        else:
            self.add_behind(output, values.reshape(-1, *[1] * self._spatial_rank(node)))

    def add_behind(self, output: str, values: npt.NDArray[np.float64]) -> None:
        """Add an array that broadcasts to ``output`` in an Add behind the node that computes it."""
        node = self._index.producers[output]
        before = self.names.fresh(f"{output}_before_addend")
        node.output[list(node.output).index(output)] = before
        addend = self.constant(values.astype(self._dtype(node)), f"{output}_addend")
        add = helper.make_node("Add", [before, addend], [output], self.names.fresh(f"{output}_plus_addend"))
        position = next(i for i, n in enumerate(self.model.graph.node) if before in n.output)
        self.model.graph.node.insert(position + 1, add)
        # protobuf copies on insertion; the index must see the new chain
        self._index = GraphIndex(self.model)

    def _bias_behind(self, output: str) -> tuple[onnx.NodeProto, int] | None:
        """Return the Add that is the only consumer of ``output``, and its input that is a constant row."""
        uses = self._index.consumers.get(output, [])
        if len(uses) != 1 or output in self._index.outputs or output in self._index.used_in_bodies:
            return None
        add, slot = uses[0].node, 1 - uses[0].slot
        bias = self._constant(add.input[slot]) if add.op_type == "Add" else None
        if bias is None or bias.ndim == 0 or bias.size != bias.shape[-1]:
            return None
        return add, slot

    def _constant(self, name: str) -> Array | None:
        """Return the value of a constant, new ones included; None for a tensor that depends on an input."""
        return self._added[name] if name in self._added else self._index.constant(name)

    def _has_room(self, node: onnx.NodeProto) -> bool:
        bias = node.input[2] if len(node.input) > 2 else ""
        return node.op_type in ("Conv", "Gemm") and (not bias or self._constant(bias) is not None)

    def _bias(self, node: onnx.NodeProto) -> npt.NDArray[np.float64]:
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(())
        return np.asarray(self._constant(node.input[2]), np.float64)

    def _set_bias(self, node: onnx.NodeProto, values: npt.NDArray[np.float64]) -> None:
        # A new initializer, as other nodes may read the old one.
        name = self.constant(values.astype(self._dtype(node)), f"{node.output[0]}_bias")
        inputs = [*node.input[:2], name]
        del node.input[:]
        node.input.extend(inputs)

    def _dtype(self, node: onnx.NodeProto, first: int = 1) -> np.dtype[np.generic]:
        for name in node.input[first:]:
            producer = self._index.producers.get(name)
            if producer is not None and producer.op_type == "DequantizeLinear":
                if element := attribute(producer, "output_dtype", 0):
                    return helper.tensor_dtype_to_np_dtype(element)
                name = producer.input[1]  # the result has the type of the scale
            value = self._constant(name) if name else None
            if value is not None and not np.issubdtype(value.dtype, np.integer):
                return value.dtype
        return np.dtype(np.float32)

    def _spatial_rank(self, node: onnx.NodeProto) -> int:
        """Return the number of axes behind the channels."""
        if node.op_type != "Conv":
            return 0
        shape = next((a.ints for a in node.attribute if a.name == "kernel_shape"), None)
        if shape is not None:
            return len(shape)
        weight = self._constant(node.input[1])
        return 2 if weight is None else weight.ndim - 2

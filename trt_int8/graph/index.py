"""Index an ONNX graph: the producer, the consumers and the constant value of each tensor.

`GraphIndex` describes a model as it is; `Names` makes names that it does not have yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from trt_int8.graph.operators import QDQ

#: Two names of one domain.
STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Use:
    """One place where a tensor is read: input number ``slot`` of ``node``."""

    node: onnx.NodeProto
    slot: int


class GraphIndex:
    """Producers, consumers and constants of the top-level graph of a model.

    Each property describes the model at the time of its first use; make a new index after changing the
    model. In bodies of If/Loop/Scan, only the use of outer tensors is indexed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs to feed."""
        return tuple(value.name for value in self.graph.input if value.name not in self._initializers)

    @cached_property
    def outputs(self) -> frozenset[str]:
        return frozenset(value.name for value in self.graph.output)

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """Tensor → the node that computes it."""
        return {name: node for node in self.graph.node for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[Use]]:
        """Tensor → where top-level nodes read it, in graph order."""
        uses: dict[str, list[Use]] = {}
        for node in self.graph.node:
            for slot, name in enumerate(node.input):
                if name:
                    uses.setdefault(name, []).append(Use(node, slot))
        return uses

    @cached_property
    def used_in_bodies(self) -> frozenset[str]:
        """Names that bodies of If, Loop and Scan read; their own tensors are included."""
        return frozenset(
            name
            for node in self.graph.node
            for body in bodies(node)
            for inner in all_nodes(body)
            for name in inner.input
        )

    @cached_property
    def _initializers(self) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in self.graph.initializer}

    @cached_property
    def _constants(self) -> dict[str, onnx.TensorProto]:
        """Initializers, and the values of numeric Constant nodes."""
        found = dict(self._initializers)
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute:
                tensor = _constant_value(node.attribute[0])
                if tensor is not None:
                    found[node.output[0]] = tensor
        return found

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """Return the value of a constant tensor; None if ``name`` is computed or fed."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Fed inputs and computed tensors in graph order, without constants."""
        computed = (n for node in self.graph.node for n in node.output if n and not self.is_constant(n))
        return (*self.inputs, *computed)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every tensor and node name in use, bodies included."""
        return frozenset(
            [value.name for value in self.graph.input]
            + [tensor.name for tensor in self.graph.initializer]
            + [name for node in all_nodes(self.graph) for name in (node.name, *node.input, *node.output)]
        )


class Names:
    """Unique names for new tensors and nodes of a graph."""

    def __init__(self, index: GraphIndex) -> None:
        self._taken = set(index.names)

    def fresh(self, wanted: str) -> str:
        """Return ``wanted``, with a number appended if the graph already has that name."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def _constant_value(attribute_: onnx.AttributeProto) -> onnx.TensorProto | None:
    """Return the tensor of a Constant node's one attribute; None for strings and sparse tensors."""
    name = attribute_.name.removesuffix("s")
    if name == "value":
        return attribute_.t
    if name not in ("value_float", "value_int"):
        return None
    dtype = np.float32 if name == "value_float" else np.int64
    return numpy_helper.from_array(np.array(onnx.helper.get_attribute_value(attribute_), dtype))


def opset_version(model: onnx.ModelProto) -> int:
    """Return the opset of the standard operators of ``model``."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), 1)


def is_standard(node: onnx.NodeProto) -> bool:
    """Return whether the operator is one of ONNX's own."""
    return node.domain in STANDARD_DOMAINS


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return the integer attribute ``name`` of ``node``, or ``default``."""
    return next((a.i for a in node.attribute if a.name == name), default)


def label(node: onnx.NodeProto) -> str:
    """Return a text for ``node`` in messages: its name, or its operator and output if it has none."""
    return node.name or f"{node.op_type} → {node.output[0] if node.output else '?'}"


def reads(node: onnx.NodeProto) -> frozenset[str]:
    """Return the tensors that ``node`` and its bodies read, those of the bodies included."""
    inner = (name for body in bodies(node) for n in all_nodes(body) for name in n.input)
    return frozenset([*node.input, *inner])


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the bodies of If, Loop and Scan."""
    for attribute_ in node.attribute:
        if attribute_.HasField("g"):
            yield attribute_.g
        yield from attribute_.graphs


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of ``graph`` and of the bodies of its nodes."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from all_nodes(body)


def has_qdq(model: onnx.ModelProto) -> bool:
    """Return whether the model has Q/DQ nodes at its top level."""
    return any(node.op_type in QDQ for node in model.graph.node)

"""The ONNX network of an engine, from the log lines of the parser or from the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from trt_int8.graph.operators import COMMUTING, QDQ

if TYPE_CHECKING:
    import onnx

_TENSOR = re.compile(rb"\[(.*?) -> \([^()]*\)(?:\[\w+\])?\]")
_DEEPEST = 64


@dataclass
class NetworkNode:
    """An ONNX node. Its tensors stay as the log prints them until they are needed."""

    name: str
    op: str
    line: int | None = None
    raw_inputs: bytes = b""
    raw_outputs: bytes = b""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input tensors, absent optional ones left out."""
        return _tensors(self.raw_inputs)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output tensors."""
        return _tensors(self.raw_outputs)


@dataclass
class Network:
    """Nodes by name. ``source`` is where they come from, for messages."""

    nodes: Mapping[str, NetworkNode] = field(default_factory=dict)
    source: str = "the log"

    @classmethod
    def from_model(cls, model: onnx.ModelProto) -> Network:
        """Take the nodes of a model. One without a name is ``node_of_OUTPUT``, as in TensorRT's parser."""
        nodes = {}
        for proto in model.graph.node:
            name = proto.name or f"node_of_{next(iter(proto.output), '')}"
            node = NetworkNode(name, proto.op_type)
            # Stored as the values of the cached properties, which then parse no text.
            node.__dict__["inputs"] = tuple(tensor for tensor in proto.input if tensor)
            node.__dict__["outputs"] = tuple(tensor for tensor in proto.output if tensor)
            nodes[name] = node
        return cls(nodes, "the model")

    @cached_property
    def ops(self) -> dict[str, str]:
        """Operator by node name."""
        return {node.name: node.op for node in self.nodes.values()}

    @cached_property
    def producers(self) -> dict[str, NetworkNode]:
        """The node that makes each tensor."""
        return {tensor: node for node in self.nodes.values() for tensor in node.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[NetworkNode]]:
        """The nodes that read each tensor."""
        found: dict[str, list[NetworkNode]] = {}
        for node in self.nodes.values():
            for tensor in node.inputs:
                found.setdefault(tensor, []).append(node)
        return found

    @cached_property
    def explicit(self) -> bool:
        """True if the network has Q/DQ nodes."""
        return any(op in QDQ for op in self.ops.values())

    def is_dequantized(self, tensor: str) -> bool:
        """Tell if ``tensor`` comes from a DequantizeLinear. Operators that only move data are skipped."""
        for _ in range(_DEEPEST):
            node = self.producers.get(tensor)
            if node is None:
                return False
            if node.op == "DequantizeLinear":
                return True
            if node.op not in COMMUTING or not node.inputs:
                return False
            tensor = node.inputs[0]
        return False

    def is_quantized_next(self, tensor: str) -> bool:
        """Tell if every consumer of ``tensor`` quantizes it. Operators that only move data are skipped."""
        readers = list(self.consumers.get(tensor, ()))
        if not readers:
            return False
        seen: set[str] = set()
        while readers:
            node = readers.pop()
            if node.op == "QuantizeLinear" or node.name in seen:
                continue
            seen.add(node.name)
            following = [each for output in node.outputs for each in self.consumers.get(output, ())]
            if node.op not in COMMUTING or not following or len(seen) > _DEEPEST:
                return False
            readers += following
        return True


def names(tensors: Iterable[str]) -> str:
    """Return ``a, b, c and 3 more`` for messages."""
    listed = list(dict.fromkeys(tensors))
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _tensors(raw: bytes) -> tuple[str, ...]:
    raw = raw.replace(b"[optional input, not set], ", b"")
    if raw.count(b" -> ") == 1:
        start = raw.find(b"[")
        return (raw[start + 1 : raw.find(b" -> ")].decode("utf-8", errors="replace"),) if start >= 0 else ()
    return tuple(name.decode("utf-8", errors="replace") for name in _TENSOR.findall(raw))

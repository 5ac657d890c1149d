"""Messages of the ONNX parser: nodes, their tensors, which layer was made for which node."""

from __future__ import annotations

import re

from trt_int8.report.decoding import text
from trt_int8.report.layer_text import onnx_nodes
from trt_int8.report.network import NetworkNode
from trt_int8.report.observed import Reading
from trt_int8.report.records import Evidence

_METADATA = re.compile(rb"ForeignNode (.*) metadata: ?(.*)$", re.DOTALL)


class NetworkMessages:
    """Fills ``nodes``, ``registered``, ``myelin_nodes`` and ``explicit`` of the build."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._node: NetworkNode | None = None
        #: How the lines with the tensors of the node begin: "NAME [OP] ".
        self.node_key = b"\n"

    def parsing(self, message: bytes, number: int) -> bool:
        """``Parsing node: NAME [OP]``; lines ``NAME [OP] inputs: …`` and ``outputs: …`` follow."""
        key = message[14:].rstrip()
        name, separator, op = key.rpartition(b" [")
        if not separator or not op.endswith(b"]"):
            return False
        build = self._reading.build
        self.node_key = key + b" "
        known = text(name)
        self._node = build.nodes[known] = NetworkNode(known, text(op[:-1]), number)
        if build.explicit is None and op in (b"QuantizeLinear]", b"DequantizeLinear]"):
            build.explicit = Evidence(number, text(message))
        return True

    def tensors(self, rest: bytes) -> None:
        """``inputs: [a -> (1, 3)[FLOAT]], …`` of the node above; parsed when somebody asks."""
        if self._node is None:
            return
        if rest.startswith(b"inputs: "):
            self._node.raw_inputs = rest
        elif rest.startswith(b"outputs: "):
            self._node.raw_outputs = rest

    def registering(self, message: bytes, number: int) -> bool:
        """``Registering layer: LAYER for ONNX node: NODE``."""
        if message.startswith(b"Registering layer: "):
            layer, separator, node = message[19:].partition(b" for ONNX node: ")
            if separator and layer != node:
                self._reading.build.registered[text(layer)] = text(node)
        return True

    def metadata(self, message: bytes, number: int) -> bool:
        """``ForeignNode {…} metadata: [ONNX Layer: a][ONNX Layer: b]``."""
        found = _METADATA.match(message)
        if found:
            self._reading.build.myelin_nodes[text(found.group(1))] = onnx_nodes(text(found.group(2)))
        return found is not None

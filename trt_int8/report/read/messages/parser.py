"""Messages of the ONNX parser: nodes with their tensors, and the layers that TensorRT makes of them."""

from __future__ import annotations

import re

from trt_int8.report.read.layer_information import onnx_nodes
from trt_int8.report.read.lines import text
from trt_int8.report.read.messages import Messages, begins, grammar
from trt_int8.report.read.network import NetworkNode
from trt_int8.report.records import Evidence

_METADATA = re.compile(rb"ForeignNode (.*) metadata: ?(.*)$", re.DOTALL)


@grammar
class ParserMessages(Messages):
    """Fills ``nodes``, ``registered``, ``myelin_nodes`` and ``explicit`` of the build."""

    @begins(b"Parsin")
    def node(self, message: bytes, number: int) -> bool:
        """``Parsing node: NAME [OP]``; lines ``NAME [OP] inputs: …`` and ``outputs: …`` follow."""
        key = message[14:].rstrip()
        name, separator, op = key.rpartition(b" [")
        if not separator or not op.endswith(b"]"):
            return False
        reading = self._reading
        known = text(name)
        reading.node = reading.build.nodes[known] = NetworkNode(known, text(op[:-1]), number)
        reading.node_key = key + b" "
        if reading.build.explicit is None and op in (b"QuantizeLinear]", b"DequantizeLinear]"):
            reading.build.explicit = Evidence(number, text(message))
        return True

    def named(self, message: bytes, number: int) -> bool:
        """``NAME [OP] inputs: [a -> (1, 3)[FLOAT]], …``. The tensors are parsed when they are needed."""
        key, node = self._reading.node_key, self._reading.node
        if not message.startswith(key):
            return False
        if node is not None:
            rest = message[len(key) :]
            if rest.startswith(b"inputs: "):
                node.raw_inputs = rest
            elif rest.startswith(b"outputs: "):
                node.raw_outputs = rest
        return True

    @begins(b"Regist")
    def registering(self, message: bytes, number: int) -> None:
        """``Registering layer: LAYER for ONNX node: NODE``."""
        if message.startswith(b"Registering layer: "):
            layer, separator, node = message[19:].partition(b" for ONNX node: ")
            if separator and layer != node:
                self._reading.build.registered[text(layer)] = text(node)

    @begins(b"Foreig")
    def metadata(self, message: bytes, number: int) -> bool:
        """``ForeignNode {…} metadata: [ONNX Layer: a][ONNX Layer: b]``."""
        found = _METADATA.match(message)
        if found:
            self._reading.build.myelin_nodes[text(found.group(1))] = onnx_nodes(text(found.group(2)))
        return found is not None

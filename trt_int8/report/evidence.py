"""Lines that support a reason."""

from __future__ import annotations

from trt_int8.report.network import NetworkNode
from trt_int8.report.records import Candidate, Evidence, Layer


def of_layer(layer: Layer) -> tuple[Evidence, ...]:
    """Where the layer was read, summed up: its type, its name, what it reads."""
    read = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in (*layer.inputs, *layer.constants)[:4])
    return (Evidence(layer.line, f"{layer.type} {layer.name}: reads {read or 'nothing'}"),)


def of_node(node: NetworkNode) -> tuple[Evidence, ...]:
    """Where the log names the inputs of an ONNX node; nothing for a node of the model."""
    if node.line is None:
        return ()
    return (Evidence(node.line, f"{node.name} [{node.op}] inputs: {', '.join(node.inputs)}"),)


def of_candidate(candidate: Candidate) -> Evidence:
    """The line that says how the candidate fared."""
    return Evidence(candidate.line, candidate.source.decode("utf-8", errors="replace").strip())

"""Records → the JSON of docs/report-schema.md, schema 1."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trt_int8.report.records import Build, Candidate, Layer, Node, Reason, Tensor

SCHEMA = 1


def builds_to_dict(builds: tuple[Build, ...]) -> dict[str, Any]:
    """The whole document."""
    return {"schema": SCHEMA, "builds": [build_to_dict(build) for build in builds]}


def build_to_dict(build: Build) -> dict[str, Any]:
    """One entry of ``builds``."""
    calibration = build.calibration
    return {
        "tensorrt": build.tensorrt,
        "status": build.status,
        "source": {"first_line": build.first_line, "last_line": build.last_line},
        "layers": [_layer(layer) for layer in build.layers],
        "nodes": [_node(node) for node in build.nodes],
        "summary": summary(build),
        "warnings": {
            "missing_scale": list(build.warnings.missing_scale),
            "other": [{"line": line.line, "text": line.text} for line in build.warnings.other],
        },
        "calibration": None
        if calibration is None
        else {"batches": calibration.batches, "seconds": calibration.seconds, "cache": calibration.cache},
        "unrecognized_lines": build.unrecognized_lines,
    }


def summary(build: Build) -> dict[str, Any]:
    """Counts over the layers; ``by_precision`` counts compute layers."""
    compute = build.compute_layers
    return {
        "layers": len(build.layers),
        "compute_layers": len(compute),
        "int8_layers": len(build.int8_layers),
        "reformat_layers": sum(layer.kind == "reformat" for layer in build.layers),
        "by_precision": dict(Counter(layer.precision for layer in compute)),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "type": layer.type,
        "kind": layer.kind,
        "precision": layer.precision,
        "inputs": [_tensor(tensor) for tensor in layer.inputs],
        "constants": [_tensor(tensor) for tensor in layer.constants],
        "outputs": [_tensor(tensor) for tensor in layer.outputs],
        "tactic": layer.tactic,
        "tactic_name": layer.tactic_name,
        "onnx_nodes": list(layer.onnx_nodes),
        "time_ms": layer.time_ms,
        "reason": _reason(layer.reason),
        "candidates": [_candidate(candidate) for candidate in layer.candidates],
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "dims": None if tensor.dims is None else list(tensor.dims),
        "format": tensor.format,
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "node": node.node,
        "op": node.op,
        "precision": node.precision,
        "layers": list(node.layers),
        "reason": _reason(node.reason),
    }


def _reason(reason: Reason | None) -> dict[str, Any] | None:
    if reason is None:
        return None
    return {
        "code": reason.code,
        "text": reason.text,
        "evidence": [{"line": line.line, "text": line.text} for line in reason.evidence],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "inputs": list(candidate.inputs),
        "outputs": list(candidate.outputs),
        "formats": candidate.formats,
        "runner": candidate.runner,
        "best_time_ms": candidate.best_time_ms,
        "outcome": candidate.outcome,
    }

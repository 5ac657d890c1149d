"""Records → the JSON of docs/report-schema.md, schema 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trt_int8.report.records import Build, Candidate, Findings, Layer, Node, Reason, Tensor

SCHEMA = 1


def builds_to_dict(builds: Sequence[Build]) -> dict[str, Any]:
    """The whole document."""
    return {"schema": SCHEMA, "builds": [build_to_dict(build) for build in builds]}


def build_to_dict(build: Build) -> dict[str, Any]:
    """One entry of ``builds``."""
    calibration = build.calibration
    return {
        "tensorrt": build.tensorrt,
        "product": build.product,
        "status": build.status,
        "source": {"first_line": build.first_line, "last_line": build.last_line},
        "layers": [_layer(layer) for layer in build.layers],
        "nodes": [_node(node) for node in build.nodes],
        "summary": summary(build),
        "findings": _findings(build.findings),
        "warnings": {
            "missing_scale": list(build.warnings.missing_scale),
            "other": [{"line": line.line, "text": line.text} for line in build.warnings.other],
        },
        "calibration": None
        if calibration is None
        else {"batches": calibration.batches, "seconds": calibration.seconds, "cache": calibration.cache},
        "unrecognized_lines": build.unrecognized_lines,
        **({} if build.record is None else {"record": build.record.to_dict()}),
    }


def summary(build: Build) -> dict[str, Any]:
    """Counts over the layers; ``by_precision`` counts compute layers. Times where a profile was given."""
    compute = build.compute_layers
    return {
        "layers": len(build.layers),
        "compute_layers": len(compute),
        "int8_layers": len(build.int8_layers),
        "reformat_layers": sum(layer.kind == "reformat" for layer in build.layers),
        "by_precision": dict(Counter(layer.precision for layer in compute)),
        "time_ms": times(build),
        "int8_time_share": int8_time_share(build),
    }


def times(build: Build) -> dict[str, float] | None:
    """Milliseconds by kind of layer, and of the INT8 ones; None without a profile."""
    known = [(layer, layer.time_ms) for layer in build.layers if layer.time_ms is not None]
    if not known:
        return None
    kinds = dict.fromkeys(("compute", "reformat", "quantize", "data"), 0.0)
    for layer, time in known:
        kinds[layer.kind] += time
    int8 = sum(time for layer, time in known if layer.kind == "compute" and layer.precision == "int8")
    return {"total": sum(kinds.values()), **kinds, "int8": int8}


def int8_time_share(build: Build) -> float | None:
    """Time of INT8 layers over that of all compute layers; None without a profile or without precisions."""
    known = times(build)
    if all(layer.precision == "unknown" for layer in build.compute_layers):
        return None
    return known["int8"] / known["compute"] if known and known["compute"] > 0 else None


def _findings(findings: Findings | None) -> dict[str, Any]:
    findings = findings or Findings()
    return {
        "reformats_on_both_sides": list(findings.reformats_on_both_sides),
        "float_between_int8": [
            {"tensor": tensor, "dtype": dtype, "from": source, "to": target}
            for tensor, dtype, source, target in findings.float_between_int8
        ],
        "bytes_moved": dict(findings.bytes_moved),
        "layers_without_dims": findings.layers_without_dims,
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

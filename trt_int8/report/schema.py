"""Records → the JSON of docs/report-schema.md, schema 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trt_int8.report.records import (
    Build,
    Candidate,
    Complaint,
    Evidence,
    Findings,
    Layer,
    LoggedCalibration,
    Node,
    Reason,
    Tensor,
)

SCHEMA = 1


def builds_to_dict(builds: Sequence[Build]) -> dict[str, Any]:
    """Return the whole document."""
    return {"schema": SCHEMA, "builds": [build_to_dict(build) for build in builds]}


def build_to_dict(build: Build) -> dict[str, Any]:
    """Return one entry of ``builds``."""
    return {
        "tensorrt": build.tensorrt,
        "product": build.product,
        "status": build.status,
        "source": {"first_line": build.first_line, "last_line": build.last_line},
        "layers": _plain(build.layers),
        "nodes": _plain(build.nodes),
        "summary": summary(build),
        "findings": _findings(build.findings),
        "warnings": {
            "missing_scale": list(build.warnings.missing_scale),
            "other": _plain(build.warnings.other),
        },
        "calibration": _plain(build.calibration),
        "unrecognized_lines": build.unrecognized_lines,
        **({} if build.record is None else {"record": build.record.to_dict()}),
    }


def summary(build: Build) -> dict[str, Any]:
    """Count the layers; ``by_precision`` counts compute layers. Times need a profile."""
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
    """Return the milliseconds of each kind of layer, and of the INT8 layers; None without a profile."""
    known = [(layer, layer.time_ms) for layer in build.layers if layer.time_ms is not None]
    if not known:
        return None
    kinds = dict.fromkeys(("compute", "reformat", "quantize", "data"), 0.0)
    for layer, time in known:
        kinds[layer.kind] += time
    int8 = sum(time for layer, time in known if layer.kind == "compute" and layer.precision == "int8")
    return {"total": sum(kinds.values()), **kinds, "int8": int8}


def int8_time_share(build: Build) -> float | None:
    """Return the share of INT8 layers in the time of compute layers; None without a profile or precisions."""
    known = times(build)
    if all(layer.precision == "unknown" for layer in build.compute_layers):
        return None
    return known["int8"] / known["compute"] if known and known["compute"] > 0 else None


def _findings(findings: Findings | None) -> dict[str, Any]:
    findings = findings or Findings()
    keys = ("tensor", "dtype", "from", "to")
    return {
        "reformats_on_both_sides": list(findings.reformats_on_both_sides),
        "float_between_int8": [dict(zip(keys, found, strict=True)) for found in findings.float_between_int8],
        "bytes_moved": dict(findings.bytes_moved),
        "layers_without_dims": findings.layers_without_dims,
    }


#: The fields of a record that become keys, in this order.
_KEYS: dict[type, tuple[str, ...]] = {
    Layer: (
        *("name", "type", "kind", "precision", "inputs", "constants", "outputs", "tactic", "tactic_name"),
        *("onnx_nodes", "time_ms", "reason", "candidates"),
    ),
    Tensor: ("name", "dtype", "dims", "format"),
    Candidate: ("inputs", "outputs", "formats", "runner", "best_time_ms", "outcome"),
    Node: ("node", "op", "precision", "layers", "reason"),
    Reason: ("code", "text", "evidence"),
    Evidence: ("line", "text"),
    Complaint: ("line", "text"),
    LoggedCalibration: ("batches", "seconds", "cache"),
}


def _plain(value: Any) -> Any:
    """Return a record, or a tuple of records or values, as JSON has it."""
    keys = _KEYS.get(type(value))
    if keys is not None:
        return {key: _plain(getattr(value, key)) for key in keys}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value

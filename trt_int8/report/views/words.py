"""Sentences of all views."""

from __future__ import annotations

from trt_int8.graph.operators import MULTIPLYING_INSIDE
from trt_int8.printable import printable
from trt_int8.report.records import Build, Findings, Layer, Node
from trt_int8.report.schema import int8_time_share, summary, times


def headline(build: Build) -> str:
    """Return the answer in one sentence."""
    engine = f"{build.product or 'TensorRT'} {build.tensorrt}: " if build.tensorrt else ""
    if build.status != "complete":
        known = (
            f"{len(build.layers)} layers were tuned, and the log ends before the engine's layer information"
            if build.layers
            else "the log has no layer of an engine. If the build succeeded, repeat it with a verbose logger"
        )
        return f"{engine}the build is incomplete (lines {build.first_line} to {build.last_line}): {known}"
    nodes, compute = multiplying_nodes(build), build.compute_layers
    if not nodes or all(node.precision == "unknown" for node in nodes):
        if compute and all(layer.precision == "unknown" for layer in compute):
            return (
                f"{engine}only the names of the {len(compute)} compute layers are known; build with "
                "profiling_verbosity DETAILED to see their precision"
            )
        return f"{engine}{len(build.int8_layers)} of {len(compute)} compute kernels run in INT8"
    int8 = sum(node.precision == "int8" for node in nodes)
    return f"{engine}{int8} of {len(nodes)} Conv, Gemm and MatMul nodes run in INT8"


def multiplying_nodes(build: Build) -> tuple[Node, ...]:
    """Return the nodes of matrix multiplications (Conv, Gemm, MatMul, attention, …)."""
    return tuple(node for node in build.nodes if node.op in MULTIPLYING_INSIDE)


def why(entry: Node | Layer) -> str:
    """Return ``code: text``, or "" without a reason."""
    return "" if entry.reason is None else printable(f"{entry.reason.code}: {entry.reason.text}")


def remarks(build: Build) -> list[str]:
    """Return counts, time, findings, missing scales and calibration, one sentence each."""
    counts = summary(build)
    by_precision = ", ".join(f"{count} {name}" for name, count in sorted(counts["by_precision"].items()))
    quantize, data = (sum(layer.kind == kind for layer in build.layers) for kind in ("quantize", "data"))
    lines = [] if build.record is None else [build.record.text]
    if build.layers:
        lines.append(
            f"{counts['layers']} kernels: {counts['compute_layers']} compute ({by_precision or 'none'}), "
            f"{quantize} quantize, {counts['reformat_layers']} reformat" + (f", {data} data" if data else "")
        )
    share, spent = int8_time_share(build), times(build)
    if spent is not None and share is not None:
        lines.append(
            f"{spent['total']:.4g} ms in all: {share:.1%} of the compute time in INT8, "
            f"{spent['reformat'] + spent['quantize']:.4g} ms in copies and quantize steps"
        )
    found = build.findings or Findings()
    if found.reformats_on_both_sides:
        lines.append(_listed("INT8 kernel", "with a copy on both sides", found.reformats_on_both_sides))
    if found.float_between_int8:
        tensors = dict.fromkeys(f"{tensor} ({dtype})" for tensor, dtype, _, _ in found.float_between_int8)
        lines.append(_listed("float tensor", "between two INT8 kernels", list(tensors)))
    if found.bytes_moved:
        moved = ", ".join(f"{_bytes(size)} {dtype}" for dtype, size in found.bytes_moved)
        lines.append(f"activations moved per inference: {moved}")
    if build.warnings.missing_scale:
        lines.append(_listed("tensor", "without a scale", build.warnings.missing_scale))
    calibration = build.calibration
    if calibration is not None:
        batches = "" if calibration.batches is None else f"{calibration.batches} batches"
        seconds = "" if calibration.seconds is None else f"{calibration.seconds:.4g} s"
        cache = "" if calibration.cache is None else f"cache {calibration.cache}"
        lines.append("calibration: " + (", ".join(filter(None, (batches, seconds, cache))) or "started"))
    return [printable(line) for line in lines]


def complaints(build: Build) -> list[str]:
    """Return ``warning: … (line 12)`` or ``error: … (line 13)`` for each, in the order of the log."""
    return [
        printable(f"{'error' if said.error else 'warning'}: {said.text} (line {said.line})")
        for said in build.warnings.other
    ]


def _listed(noun: str, what: str, names: tuple[str, ...] | list[str]) -> str:
    few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' * (len(names) > 1)} {what}: {few}"


def _bytes(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000  # type: ignore[assignment]  # an int becomes a float
    return f"{size:.4g} GB"

"""A table, and below it a command for each flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trt_int8.analysis.analysis import RangeAnalysis
    from trt_int8.analysis.tensor import TensorAnalysis

_COLUMNS = ("tensor", "min", "max", "mean", "zeros", "amax", "clipped", "codes")
_METHODS = ("entropy", "minmax", "percentile", "mse", "affine")


def render(analysis: RangeAnalysis) -> str:
    """Lines for people; SQNR in dB, the chosen method marked by a star."""
    head = [
        "tensor",
        "min",
        "max",
        "mean",
        "zeros",
        "amax",
        "clipped",
        "codes",
        *_METHODS,
        "cost dB",
        "flags",
    ]
    rows = [head, *(_row(tensor) for tensor in analysis.tensors)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [f"{len(analysis.tensors)} tensors from {analysis.samples} samples; SQNR in dB, * chosen"]
    for row in rows:
        lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    if any(tensor.uncertain for tensor in analysis.tensors):
        lines.append(
            "~ uncertain by more than 0.5 dB: few bins hold most values, as where an outlier stretches "
            "the histogram; measure with trt-int8 sensitivity"
        )
    for tensor in analysis.tensors:
        for flag, command in analysis.remedies(tensor):
            lines.append(f"{tensor.name}: {flag}: {command}")
    return "\n".join(lines) + "\n"


def _row(tensor: TensorAnalysis) -> list[str]:
    sqnr = [
        f"{'~' if m in tensor.uncertain else ''}{tensor.sqnr_db[m]:.1f}{'*' if m == tensor.method else ''}"
        for m in _METHODS
    ]
    return [
        tensor.name,
        f"{tensor.minimum:.4g}",
        f"{tensor.maximum:.4g}",
        f"{tensor.mean:.4g}",
        f"{tensor.zeros:.1%}",
        f"{tensor.amax:.4g}",
        f"{tensor.clipped:.3%}",
        f"{tensor.codes_used:.0%}",
        *(value.replace("nan", "–") for value in sqnr),
        f"{tensor.symmetry_cost_db:.2f}".replace("nan", "–"),
        ", ".join(tensor.flags),
    ]

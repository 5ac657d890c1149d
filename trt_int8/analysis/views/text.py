"""Print a table of the tensors, and a command for each flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trt_int8.printable import aligned, printable

if TYPE_CHECKING:
    from trt_int8.analysis.analysis import RangeAnalysis
    from trt_int8.analysis.tensor import TensorAnalysis

_COLUMNS = ("tensor", "min", "max", "mean", "zeros", "amax", "clipped", "codes")


def render(analysis: RangeAnalysis) -> str:
    """Return lines with SQNR in dB; a star marks the chosen algorithm."""
    algorithms = analysis.tensors[0].sqnr_db if analysis.tensors else ()
    head = [*_COLUMNS, *algorithms, "cost dB", "flags"]
    rows = [head, *(_row(tensor) for tensor in analysis.tensors)]
    lines = [f"{len(analysis.tensors)} tensors from {analysis.samples} samples; SQNR in dB, * chosen"]
    lines += aligned(rows).splitlines()
    if any(tensor.uncertain for tensor in analysis.tensors):
        lines.append(
            "~ uncertain by more than 0.5 dB: most values are in a few bins, for instance because of an "
            "outlier; measure with trt-int8 sensitivity"
        )
    for tensor in analysis.tensors:
        for flag, command in analysis.advice(tensor):
            lines.append(printable(f"{tensor.name}: {flag}: {command}"))
    return "\n".join(lines) + "\n"


def _row(tensor: TensorAnalysis) -> list[str]:
    sqnr = [
        f"{'~' if name in tensor.uncertain else ''}{value:.1f}{'*' if name == tensor.algorithm else ''}"
        for name, value in tensor.sqnr_db.items()
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

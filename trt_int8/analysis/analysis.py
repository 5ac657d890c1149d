"""Histograms in, the analysis of every tensor out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trt_int8.analysis.flags import remedy
from trt_int8.analysis.tensor import TensorAnalysis, analyze_tensor
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.thresholds import methods

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class RangeAnalysis:
    """The result of `analyze`.

    Attributes:
        tensors: the one that loses most by symmetry first.
        samples: how many were run.
        recentrable: names of tensors that can be recentred; None: nobody knows.
    """

    tensors: tuple[TensorAnalysis, ...]
    samples: int
    recentrable: frozenset[str] | None = None

    def remedies(self, tensor: TensorAnalysis) -> list[tuple[str, str]]:
        """Each flag of ``tensor`` with the command that helps."""
        possible = self.recentrable is None or tensor.name in self.recentrable
        return [(flag, remedy(flag, tensor.name, recentrable=possible)) for flag in tensor.flags]

    def to_dict(self) -> dict[str, Any]:
        """The document that docs/ranges.md describes."""
        return {"schema": SCHEMA, "tensors": [tensor.to_dict() for tensor in self.tensors]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_text(self) -> str:
        """A table, and a command for each flag."""
        from trt_int8.analysis.views.text import render

        return render(self)

    def to_html(self) -> str:
        """A self-contained page with a histogram per tensor.

        Raises:
            MissingDependencyError: jinja2 is not installed.
        """
        from trt_int8.analysis.views.html import render

        return render(self)


def analyze(
    histograms: Histograms, *, method: str = "entropy", recentrable: Iterable[str] | None = None
) -> RangeAnalysis:
    """Analyze every tensor at the range ``method`` gives it.

    Args:
        histograms: of a model.
        method: one of `trt_int8.calibration.thresholds.methods` that needs nothing held out.
        recentrable: from `trt_int8.correction.recentre.recentrable`, for the remedies.

    Raises:
        ValueError: no such method.
    """
    known = methods(held_out=False)
    if method not in known:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(known)}")
    ranges = {name: histograms.ranges(algorithm=name) for name in known}
    tensors = [
        analyze_tensor(name, histogram, {key: ranges[key][name] for key in known}, method=method)
        for name, histogram in histograms.tensors.items()
    ]
    possible = None if recentrable is None else frozenset(recentrable)
    return RangeAnalysis(tuple(sorted(tensors, key=_cost)), histograms.samples, possible)


def _cost(tensor: TensorAnalysis) -> float:
    """Ascending order: most costly first, tensors of zeros last."""
    cost = tensor.symmetry_cost_db
    return -cost if cost == cost else float("inf")

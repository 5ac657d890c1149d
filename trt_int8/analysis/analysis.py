"""Analyze every tensor from its histogram."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trt_int8.analysis.flags import advice
from trt_int8.analysis.tensor import TensorAnalysis, analyze_tensor
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.thresholds import methods
from trt_int8.printable import json_text

#: Version of the JSON document. Version 1 had ``method`` instead of ``algorithm``.
SCHEMA = 2


@dataclass(frozen=True, eq=False)
class RangeAnalysis:
    """The result of `analyze`.

    Attributes:
        tensors: the tensor that loses most by symmetric quantization is the first.
        samples: the number of samples.
        recentrable: names of tensors that can be recentred; None: not known.
    """

    tensors: tuple[TensorAnalysis, ...]
    samples: int
    recentrable: frozenset[str] | None = None

    def advice(self, tensor: TensorAnalysis) -> list[tuple[str, str]]:
        """Return each flag of ``tensor`` with the command that helps."""
        possible = self.recentrable is None or tensor.name in self.recentrable
        return [(flag, advice(flag, tensor.name, recentrable=possible)) for flag in tensor.flags]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that docs/ranges.md describes."""
        return {"schema": SCHEMA, "tensors": [tensor.to_dict() for tensor in self.tensors]}

    def to_json(self) -> str:
        return json_text(self.to_dict(), indent=2, allow_nan=False)

    def to_text(self) -> str:
        """Return a table, and a command for each flag."""
        from trt_int8.analysis.views.text import render

        return render(self)

    def to_html(self) -> str:
        """Return a self-contained page with one histogram per tensor.

        Raises:
            MissingDependencyError: jinja2 is not installed.
        """
        from trt_int8.analysis.views.html import render

        return render(self)


def analyze(
    histograms: Histograms, *, algorithm: str = "entropy", recentrable: Iterable[str] | None = None
) -> RangeAnalysis:
    """Analyze every tensor of a model with the range that ``algorithm`` gives it.

    Args:
        histograms: of a model.
        algorithm: one of `trt_int8.calibration.thresholds.methods` that needs no held-back data.
        recentrable: from `trt_int8.correction.recentre.recentrable`, for the advice.

    Raises:
        ValueError: no such algorithm.
    """
    known = methods(held_back=False)
    if algorithm not in known:
        raise ValueError(f"algorithm is {algorithm!r}; it must be one of {', '.join(known)}")
    ranges = {name: histograms.ranges(algorithm=name) for name in known}
    tensors = [
        analyze_tensor(name, histogram, {key: ranges[key][name] for key in known}, algorithm=algorithm)
        for name, histogram in histograms.tensors.items()
    ]
    tensors.sort(key=lambda each: (math.isnan(each.symmetry_cost_db), -each.symmetry_cost_db))
    possible = None if recentrable is None else frozenset(recentrable)
    return RangeAnalysis(tuple(tensors), histograms.samples, possible)

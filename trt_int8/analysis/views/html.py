"""Make a self-contained HTML page, without scripts or network access, with one drawing per tensor.

A drawing shows the counts on a log scale, ±T, and the unused codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from trt_int8.analysis.tensor import TensorAnalysis
from trt_int8.calibration.density import LOWEST
from trt_int8.calibration.kernels import BINS
from trt_int8.dependencies import require
from trt_int8.printable import printable

if TYPE_CHECKING:
    from trt_int8.analysis.analysis import RangeAnalysis

WIDTH, HEIGHT = 640, 150
_BARS = 256


@dataclass(frozen=True)
class Drawing:
    """Pixels in a box of `WIDTH` × `HEIGHT`, y downward.

    Attributes:
        bars: x, y, width, height of each bar.
        unused: x and width of each run of unused codes.
        threshold: x of −T and of +T; empty without a range.
        extent: the value at the right edge; the left edge is −extent.
    """

    bars: tuple[tuple[float, float, float, float], ...]
    unused: tuple[tuple[float, float], ...]
    threshold: tuple[float, ...]
    extent: float


def draw(tensor: TensorAnalysis) -> Drawing:
    """Draw ``tensor`` with zero in the middle."""
    amax = tensor.amax if math.isfinite(tensor.amax) else 0.0
    extent = 1.05 * max(amax, tensor.histogram.amax) or 1.0
    step = amax / 127

    def x(value: float) -> float:
        return round((value / extent + 1) / 2 * WIDTH, 2)

    unused = [
        (x((first + LOWEST - 0.5) * step), x((last + LOWEST - 0.5) * step))
        for first, last in (_runs(~tensor.used) if amax else ())
    ]
    return Drawing(
        tuple(_bars(tensor, extent)),
        tuple((low, round(high - low, 2)) for low, high in unused),
        (x(-amax), x(amax)) if amax else (),
        extent,
    )


def _bars(tensor: TensorAnalysis, extent: float) -> list[tuple[float, float, float, float]]:
    histogram = tensor.histogram
    centres = (np.arange(2 * BINS) + 0.5 - BINS) * histogram.width
    slots = np.clip(((centres / extent + 1) / 2 * _BARS).astype(np.int64), 0, _BARS - 1)
    counts = np.bincount(slots, weights=histogram.counts, minlength=_BARS)
    counts[_BARS // 2] += histogram.zeros
    logs = np.log10(1 + counts)
    heights = logs / (logs.max() or 1) * (HEIGHT - 10)
    wide = WIDTH / _BARS
    return [
        (round(i * wide, 2), round(float(HEIGHT - h), 2), wide, round(float(h), 2))
        for i, h in enumerate(heights)
        if h > 0
    ]


def _runs(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Return [first, end) of each run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(changes[::2], changes[1::2], strict=True)]


def render(analysis: RangeAnalysis) -> str:
    """Make the page; the template escapes names.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", purpose="the HTML page")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
    source = resources.files("trt_int8.analysis.views").joinpath("ranges.html.j2").read_text(encoding="utf-8")
    tensors = [
        {"tensor": tensor, "drawing": draw(tensor), "advice": analysis.advice(tensor)}
        for tensor in analysis.tensors
    ]
    page: str = environment.from_string(source).render(tensors=tensors, samples=analysis.samples)
    return page

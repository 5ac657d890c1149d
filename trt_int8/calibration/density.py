"""Model a histogram as a piecewise constant density, finer than its bins, and compute the error of INT8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import BINS

Floats = npt.NDArray[np.float64]
#: The codes of INT8.
LOWEST, HIGHEST = -128, 127
#: Bins farther from zero than this are narrow in comparison with their values.
_FAR = BINS // 8
#: Parts of a bin whose density may differ.
PARTS = 8


@dataclass(frozen=True, eq=False)
class Density:
    """Non-zero values of a tensor: ``weight[i]`` of them spread evenly over [low[i], high[i]].

    Attributes:
        low, high: float64 [cells], ascending; equal for values known exactly.
        weight: float64 [cells], numbers of values.
        zeros: number of values equal to 0, which every scale represents exactly.
    """

    low: Floats
    high: Floats
    weight: Floats
    zeros: float

    @property
    def total(self) -> float:
        return self.zeros + float(self.weight.sum())

    @property
    def power(self) -> float:
        """Σx²; the mean of x² over [a, b] is (a² + ab + b²) / 3."""
        squares = (self.low**2 + self.low * self.high + self.high**2) / 3
        return float(squares @ self.weight)

    @property
    def mean(self) -> float:
        """The mean of x; 0.0 for a density without values."""
        return float((self.low + self.high) / 2 @ self.weight) / self.total if self.total else 0.0

    def below(self, value: float) -> float:
        """Return the number of values below ``value``, zeros included."""
        width = self.high - self.low
        safe = np.where(width > 0, width, 1)
        inside = np.where(width > 0, np.clip((value - self.low) / safe, 0, 1), self.low < value)
        return float(inside @ self.weight) + (self.zeros if value > 0 else 0)


def density(histogram: Histogram, *, parts: int = PARTS) -> Density:
    """Model how values spread inside the bins of ``histogram``, with ``parts`` cells per bin (1: evenly).

    The density grows or falls exponentially across a bin, following the counts of its neighbours. Next to
    zero only the outer neighbour is used, because most distributions have their peak there. Values on a grid
    (pixels / 256, integers) are known exactly. The bins of the smallest and the largest value end there, and
    contain only that value if they are isolated and far from zero.
    """
    bins = known_bins(histogram)
    low, high, counts = bins.low.copy(), bins.high.copy(), bins.weight
    if not (high > low).any():
        return bins
    filled = np.flatnonzero(histogram.counts)
    _place_extremes(low, high, filled, histogram)
    if parts == 1:
        return Density(low, high, counts, bins.zeros)
    steps = np.arange(parts + 1) / parts
    edges = low[:, None] + (high - low)[:, None] * steps
    shape = np.exp(_slopes(histogram)[filled, None] * (steps[:-1] + 0.5 / parts - 0.5))
    weights = counts[:, None] * shape / shape.sum(axis=1, keepdims=True)
    return Density(edges[:, :-1].ravel(), edges[:, 1:].ravel(), weights.ravel(), bins.zeros)


def known_bins(histogram: Histogram) -> Density:
    """Return the non-empty bins, cut at the extremes. Single extremes and values on a grid are points."""
    filled = np.flatnonzero(histogram.counts)
    counts = histogram.counts[filled].astype(np.float64)
    zeros = float(histogram.zeros)
    if not filled.size:
        return Density(counts, counts, counts, zeros)
    low = np.maximum((filled - BINS) * histogram.width, histogram.minimum)
    high = np.minimum((filled + 1 - BINS) * histogram.width, histogram.maximum)
    if _on_grid(filled, histogram):
        outer = np.where(filled >= BINS, filled + 1 - BINS, filled - BINS) * histogram.width
        return Density(outer, outer, counts, zeros)
    if counts[-1] == 1 and high[-1] == histogram.maximum:
        low[-1] = high[-1]
    if counts[0] == 1 and low[0] == histogram.minimum:
        high[0] = low[0]
    return Density(low, high, counts, zeros)


def _on_grid(filled: npt.NDArray[np.intp], histogram: Histogram) -> bool:
    """Return whether all values seem to be multiples of two or more bins, so that they are on bin edges."""
    outer = np.where(filled >= BINS, filled + 1 - BINS, BINS - filled)
    ends = [end / histogram.width for end in (histogram.minimum, histogram.maximum)]
    return bool(np.gcd.reduce(outer) > 1) and all(end == round(end) for end in ends)


def _place_extremes(low: Floats, high: Floats, filled: npt.NDArray[np.intp], histogram: Histogram) -> None:
    """Shrink an isolated outermost bin, far from zero, to the extreme value, in place."""
    if len(filled) < 2 and histogram.minimum * histogram.maximum > 0:
        return  # one bin holds both ends
    away = np.where(filled >= BINS, filled - BINS, BINS - 1 - filled) >= _FAR
    if high[-1] == histogram.maximum and away[-1] and (len(filled) < 2 or filled[-1] - filled[-2] > 1):
        low[-1] = high[-1]
    if low[0] == histogram.minimum and away[0] and (len(filled) < 2 or filled[1] - filled[0] > 1):
        high[0] = low[0]


def _slopes(histogram: Histogram) -> Floats:
    """Return d ln(density) across each bin, in units of a bin; 0 at the edge of the data."""
    counts = histogram.counts
    logs = np.log(np.maximum(counts, 0.5))
    slopes = np.zeros(len(counts))
    slopes[1:-1] = np.where((counts[:-2] > 0) & (counts[2:] > 0), (logs[2:] - logs[:-2]) / 2, 0)
    filled = np.flatnonzero(counts)
    if filled.size:  # a peak in the last bin, as of saturated data
        first, last = filled[0], filled[-1]
        slopes[last] = max(logs[last] - logs[last - 1], 0) if counts[last - 1] else 0
        slopes[first] = min(logs[first + 1] - logs[first], 0) if counts[first + 1] else 0
    slopes[BINS] = logs[BINS + 1] - logs[BINS]
    slopes[BINS - 1] = logs[BINS - 1] - logs[BINS - 2]
    return slopes


def noise(density: Density, scale: float, zero_point: int = 0) -> float:
    """Return Σ(x − x̂)² for x̂ = scale · (clip(round(x / scale) + zero_point, -128, 127) − zero_point).

    The antiderivative of the squared error is F(x) = n·scale³/12 + r³/3, with n the clipped rounded
    quotient and r = x − n·scale: a full step adds scale³/12, and the rest of a step, or the part beyond the
    last code, adds a cubic. The mean over a cell is (F(high) − F(low)) / (high − low).
    """
    low, high = (LOWEST - zero_point, HIGHEST - zero_point)
    width = density.high - density.low
    middle = (density.low + density.high) / 2
    point = np.square(middle - scale * np.clip(np.rint(middle / scale), low, high))
    # Differences of F lose all digits if a cell is far narrower than its distance from zero.
    wide = width > 1e-9 * np.maximum(np.abs(middle), scale)

    def antiderivative(x: Floats) -> Floats:
        steps = np.clip(np.rint(x / scale), low, high)
        return np.asarray(steps * scale**3 / 12 + (x - steps * scale) ** 3 / 3)

    integral = antiderivative(density.high) - antiderivative(density.low)
    mean = np.where(wide, integral / np.where(wide, width, 1), point)
    return float(np.maximum(mean, 0) @ density.weight)


def sqnr_db(density: Density, scale: float, zero_point: int = 0) -> float:
    """Return 10·log10(Σx² / Σ(x − x̂)²); inf without an error, NaN without a signal or a usable scale."""
    power = density.power
    if not power > 0 or not 0 < scale < math.inf:
        return math.nan
    error = noise(density, scale, zero_point)
    return 10 * math.log10(power / error) if error > 0 else math.inf

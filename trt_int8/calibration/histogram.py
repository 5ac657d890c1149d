"""Histograms of constant size whose counts depend neither on order nor on how the data was split.

The grid is a power of two: ``BINS`` bins a side, each ``2**exponent`` wide. When a value falls outside,
the width doubles and neighbouring bins are summed, as often as needed. Bins are closed on the side
away from zero, (i·w, (i + 1)·w] for positive values, so that

* two neighbours are exactly one bin of the doubled grid: coarsening earlier or later gives the same
  counts, and hence any order, split or merge of the same data does;
* a maximum of exactly 2^k fills the last bin of its grid instead of doubling it.

Zeros have a count of their own: they are exact at every scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.counting import BINS, Counts, count
from trt_int8.errors import CalibrationError

_LOG2_BINS = 11
#: Exponent of the finest grid: that of the smallest float32. What float64 holds below is counted there.
_SMALLEST = -149 - _LOG2_BINS


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the values of one tensor.

    Attributes:
        counts: int64 [2·BINS]; ``counts[BINS + i]`` counts values in (i·w, (i+1)·w] and
            ``counts[BINS - 1 - i]`` values in [-(i+1)·w, -i·w), with w = ``width``.
        exponent: log2 of the bin width; None as long as nothing but zeros was seen.
        zeros: number of values equal to 0.
        minimum, maximum: smallest and largest value seen (0.0 when nothing was).
        infinities: number of ±inf values, which are counted here and nowhere else.
    """

    counts: Counts
    exponent: int | None = None
    zeros: int = 0
    minimum: float = 0.0
    maximum: float = 0.0
    infinities: int = 0

    @classmethod
    def empty(cls) -> Histogram:
        return cls(np.zeros(2 * BINS, np.int64))

    @property
    def width(self) -> float:
        """Width of a bin; 0.0 as long as nothing but zeros was seen."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent)

    @property
    def amax(self) -> float:
        """Largest absolute value seen."""
        return max(-self.minimum, self.maximum)

    @property
    def total(self) -> int:
        """Number of finite values counted, zeros included."""
        return self.zeros + int(self.counts.sum())

    def magnitudes(self) -> Counts:
        """int64 [BINS]: counts of |x| in (i·w, (i+1)·w], without the zeros."""
        return self.counts[BINS:] + self.counts[BINS - 1 :: -1]

    def add(self, values: npt.NDArray[np.generic]) -> Histogram:
        """The histogram of what this one holds and ``values`` (any shape, any float dtype).

        Raises:
            CalibrationError: a value is NaN.
        """
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.dtype != np.float32:
            # exact: float16 and bfloat16 are subsets of float32
            flat = flat.astype(np.float32 if flat.dtype.itemsize == 2 else np.float64)
        if flat.size == 0:
            return self
        counted = None if self.exponent is None else count(flat, self.exponent)
        if counted is not None:
            return self.merge(Histogram(counted.counts, self.exponent, *counted[1:]))
        return self._add_beyond(flat)

    def _add_beyond(self, flat: npt.NDArray[np.floating]) -> Histogram:
        """`add` where the values need a wider grid, or some are not finite."""
        lowest, highest = float(flat.min()), float(flat.max())  # NaN if any value is
        infinities = 0
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            if math.isnan(lowest) or math.isnan(highest):
                raise CalibrationError(f"the value at flat index {int(np.isnan(flat).argmax())} is NaN")
            finite = flat[np.isfinite(flat)]
            infinities = flat.size - finite.size
            if finite.size == 0:
                return replace(self, infinities=self.infinities + infinities)
            flat, lowest, highest = finite, float(finite.min()), float(finite.max())
        exponent = _exponent(max(-lowest, highest))
        if exponent is None:
            return self.merge(replace(Histogram.empty(), zeros=flat.size, infinities=infinities))
        exponent = exponent if self.exponent is None else max(exponent, self.exponent)
        counted = count(flat, exponent)
        assert counted is not None  # the grid was chosen to hold all values
        return self.merge(Histogram(counted.counts, exponent, *counted[1:], infinities))

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of what both hold, whichever way round."""
        if self._unused:
            return replace(other, infinities=self.infinities + other.infinities)
        if other._unused:
            return replace(self, infinities=self.infinities + other.infinities)
        exponents = [e for e in (self.exponent, other.exponent) if e is not None]
        exponent = max(exponents, default=None)
        return Histogram(
            self._coarsened(exponent) + other._coarsened(exponent),
            exponent,
            self.zeros + other.zeros,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.infinities + other.infinities,
        )

    @property
    def _unused(self) -> bool:
        return self.zeros == 0 and self.exponent is None

    def _coarsened(self, exponent: int | None) -> Counts:
        """``counts`` on the grid of width 2**exponent, at least as wide as this one's."""
        if exponent is None or self.exponent is None or exponent == self.exponent:
            return self.counts
        factor = 2 ** min(exponent - self.exponent, _LOG2_BINS)
        narrow = BINS // factor
        counts = np.zeros_like(self.counts)
        counts[BINS - narrow : BINS + narrow] = self.counts.reshape(-1, factor).sum(axis=1)
        return counts


def _exponent(amax: float) -> int | None:
    """The smallest exponent of a bin width on whose grid ``amax`` lies; None for 0."""
    if amax == 0:
        return None
    fraction, power = math.frexp(amax)  # amax = fraction · 2**power, 0.5 ≤ fraction < 1
    return max((power - 1 if fraction == 0.5 else power) - _LOG2_BINS, _SMALLEST)

"""Histograms of constant size. Their counts depend neither on the order nor on the split of the data.

The bin width is a power of two, ``2**exponent``, and there are ``BINS`` bins on each side of zero. If a value
falls outside, the width doubles and each two neighbouring bins are added, as often as needed. Bins are closed
on the side away from zero, (i·w, (i + 1)·w] for positive values, so that

* two neighbours are exactly one bin of the doubled grid: coarsening earlier or later gives the same
  counts, and so does any order, split or merge of the same data;
* a maximum of exactly 2^k fills the last bin of its grid instead of doubling the width.

Zeros are counted separately: every scale represents them exactly. Two implementations of counting give
identical counts, `add_compiled` and `add_by_numpy`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.kernels import BINS as BINS
from trt_int8.calibration.kernels import COUNT, new_scratch
from trt_int8.errors import CalibrationError

Counts = npt.NDArray[np.int64]
#: float32 or float64.
AnyFloats = npt.NDArray[Any]
Scratch = npt.NDArray[np.int32]
_FLOAT32 = np.dtype(np.float32)
_LOG2_BINS = 11
#: Exponent of the finest grid: that of the smallest float32. Smaller float64 values are counted there.
_SMALLEST = -149 - _LOG2_BINS
#: Values that numpy counts at a time, so that the working set stays in the processor's cache.
_CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the values of one tensor.

    Attributes:
        counts: int64 [2·BINS]; ``counts[BINS + i]`` counts values in (i·w, (i+1)·w] and
            ``counts[BINS - 1 - i]`` values in [-(i+1)·w, -i·w), with w = ``width``.
        exponent: log2 of the bin width; None as long as all values are zero.
        zeros: number of values equal to 0.
        minimum, maximum: smallest and largest value; 0.0 if there is none.
        infinities: number of ±inf values, which no other count includes.
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
        """Width of a bin; 0.0 as long as all values are zero."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent)

    @property
    def amax(self) -> float:
        """Largest absolute value."""
        return max(-self.minimum, self.maximum)

    @property
    def total(self) -> int:
        """Number of finite values counted, zeros included."""
        return self.zeros + int(self.counts.sum())

    def magnitudes(self) -> Counts:
        """Return int64 [BINS], the counts of |x| in (i·w, (i+1)·w] without the zeros."""
        return self.counts[BINS:] + self.counts[BINS - 1 :: -1]

    def add(self, values: npt.NDArray[np.generic]) -> Histogram:
        """Return this histogram with ``values`` (any shape, any float dtype); `CalibrationError` for NaN."""
        flat = flattened(values)
        if flat.size == 0:
            return self
        more = None if self.exponent is None else _counted(flat, self.exponent)
        return self._add_beyond(flat) if more is None else self.merge(more)

    def _add_beyond(self, flat: AnyFloats) -> Histogram:
        """Do the work of `add` if the values need a wider grid, or some are not finite."""
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
        more = _counted(flat, exponent)
        assert more is not None  # the grid was chosen to hold all values
        return self.merge(replace(more, infinities=infinities))

    def merge(self, other: Histogram) -> Histogram:
        """Return the histogram of the values of both."""
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
        """Return ``counts`` on the grid of width 2**exponent, at least as wide as this one's."""
        if exponent is None or self.exponent is None or exponent == self.exponent:
            return self.counts
        factor = 2 ** min(exponent - self.exponent, _LOG2_BINS)
        narrow = BINS // factor
        counts = np.zeros_like(self.counts)
        counts[BINS - narrow : BINS + narrow] = self.counts.reshape(-1, factor).sum(axis=1)
        return counts


def new_slots() -> Counts:
    """Return int64 [2·BINS + 1] of zeros: slot BINS counts zeros, slot BINS ± i the i-th bin of a side."""
    return np.zeros(2 * BINS + 1, np.int64)


def from_slots(slots: Counts, exponent: int, minimum: float, maximum: float) -> Histogram:
    """Return the histogram of the counts in ``slots``, with the extremes of its values."""
    # + 0.0: never -0.0, which would depend on the order of the data
    return Histogram(np.delete(slots, BINS), exponent, int(slots[BINS]), minimum + 0.0, maximum + 0.0)


def flattened(values: npt.NDArray[np.generic]) -> AnyFloats:
    """Return the values as float32 or float64 [n], contiguous."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype != _FLOAT32:
        # exact: float16 and bfloat16 are subsets of float32
        flat = flat.astype(np.float32 if flat.dtype.itemsize == 2 else np.float64)
    return flat


def add_counts(
    slots: Counts, flat: AnyFloats, exponent: int, *, scratch: Scratch | None = None
) -> tuple[float, float] | None:
    """Add the counts of ``flat`` on the grid of bin width 2**exponent to ``slots``, in place.

    Args:
        slots: from `new_slots`.
        flat: float32 or float64 [n], contiguous, n ≥ 1.
        exponent: log2 of the bin width.
        scratch: from `trt_int8.calibration.kernels.new_scratch`, one per thread; None: a new one.

    Returns:
        The least and the greatest value. If a value is outside the grid, infinite or NaN, the result is
        None and ``slots`` is unchanged.
    """
    loop = COUNT.ready or COUNT.after(numpy_seconds(flat))
    if loop is not None and _compiled_takes(flat, exponent):
        return add_compiled(loop, slots, flat, exponent, new_scratch() if scratch is None else scratch)
    return add_by_numpy(slots, flat, exponent)


def numpy_seconds(flat: AnyFloats) -> float:
    """Return about how long numpy takes to count an array: 20 µs and 4 ns per value."""
    return 2e-5 + 4e-9 * flat.size


def add_by_numpy(slots: Counts, flat: AnyFloats, exponent: int) -> tuple[float, float] | None:
    """Do the work of `add_counts` with numpy."""
    minimum, maximum = float(flat.min()), float(flat.max())
    if not _within(minimum, maximum, exponent):
        return None
    # float32 if its product with the scale neither underflows nor overflows.
    dtype = np.float32 if flat.dtype == np.float32 and -126 <= exponent <= 0 else np.float64
    scale = dtype(math.ldexp(1.0, -exponent))
    for start in range(0, flat.size, _CHUNK):
        scaled = np.multiply(flat[start : start + _CHUNK], scale, dtype=dtype)
        # Round away from zero: slot BINS holds the zeros, slot BINS ± i the i-th bin of a side.
        if minimum >= 0:
            away = np.ceil(scaled, out=scaled)
        else:
            away = np.abs(scaled)
            np.copysign(np.ceil(away, out=away), scaled, out=away)
        away += BINS
        slots += np.bincount(away.astype(np.intp), minlength=2 * BINS + 1)
    return minimum, maximum


def add_compiled(
    loop: Callable[..., Any], slots: Counts, flat: AnyFloats, exponent: int, scratch: Scratch
) -> tuple[float, float] | None:
    """Do the work of `add_counts` with the compiled `trt_int8.calibration.kernels.count`."""
    minimum, maximum = loop(flat, *_scale_and_limit(exponent), slots, scratch)
    return (minimum, maximum) if _within(minimum, maximum, exponent) else None


@functools.cache
def _scale_and_limit(exponent: int) -> tuple[np.float32, np.float32]:
    largest = float(np.finfo(np.float32).max)
    return np.float32(math.ldexp(1.0, -exponent)), np.float32(min(math.ldexp(BINS, exponent), largest))


def _compiled_takes(flat: AnyFloats, exponent: int) -> bool:
    """Return whether the loop is compiled for this kind of array, and float32 can represent the scale."""
    return flat.dtype == _FLOAT32 and flat.flags.carray and -126 <= exponent <= 117


def _within(minimum: float, maximum: float, exponent: int) -> bool:
    """Return whether extremes lie on a grid; False if one is infinite or NaN."""
    limit = math.ldexp(BINS, exponent)
    return -limit <= minimum and maximum <= limit


def _counted(flat: AnyFloats, exponent: int) -> Histogram | None:
    slots = new_slots()
    extremes = add_counts(slots, flat, exponent)
    return None if extremes is None else from_slots(slots, exponent, *extremes)


def _exponent(amax: float) -> int | None:
    """Return the smallest exponent of a bin width whose grid contains ``amax``; None for 0."""
    if amax == 0:
        return None
    fraction, power = math.frexp(amax)  # amax = fraction · 2**power, 0.5 ≤ fraction < 1
    return max((power - 1 if fraction == 0.5 else power) - _LOG2_BINS, _SMALLEST)

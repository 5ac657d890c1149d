"""Count values into the bins of `trt_int8.calibration.histogram`: the hot loop of calibration.

Two implementations with identical counts: numba's where it is installed (``pip install numba``) and there
is enough to count, numpy's otherwise.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.compiled import Kernels, kernels

#: Bins on each side of zero.
BINS = 2048
#: Elements numpy counts at a time: the working set stays in the processor's cache.
_CHUNK = 1 << 15
_TABLES = 4

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[Any]


class Counted(NamedTuple):
    """Counts of one array: int64 [2·BINS] without the zeros, their number, and the extreme values."""

    counts: Counts
    zeros: int
    minimum: float
    maximum: float


def count(flat: Floats, exponent: int) -> Counted | None:
    """Counts of ``flat`` on the grid of bin width 2**exponent; None if it does not fit.

    Args:
        flat: float32 or float64 [n], contiguous, n ≥ 1.
        exponent: log2 of the bin width.

    Returns:
        None if a value is outside the grid, infinite or NaN.
    """
    loaded = kernels(spent=0)
    if loaded is not None and flat.dtype == np.float32:
        return count_compiled(loaded, flat, exponent)
    return count_numpy(flat, exponent)


def count_numpy(flat: Floats, exponent: int) -> Counted | None:
    """`count` in plain numpy."""
    minimum, maximum = float(flat.min()), float(flat.max())
    limit = math.ldexp(BINS, exponent)
    if not (-limit <= minimum and maximum <= limit):  # also if one is NaN
        return None
    dtype = np.float32 if flat.dtype == np.float32 and _exact_in_float32(exponent) else np.float64
    scale = dtype(math.ldexp(1.0, -exponent))
    slots = np.zeros(2 * BINS + 1, np.int64)
    for start in range(0, flat.size, _CHUNK):
        scaled = np.multiply(flat[start : start + _CHUNK], scale, dtype=dtype)
        # Round away from zero: slot BINS holds the zeros, slot BINS ± i the i-th bin of a side.
        away = np.copysign(np.ceil(np.abs(scaled)), scaled)
        slots += np.bincount(away.astype(np.int64) + BINS, minlength=2 * BINS + 1)
    return counted(slots, minimum, maximum)


def count_compiled(loaded: Kernels, flat: Floats, exponent: int) -> Counted | None:
    """`count` of float32 by numba."""
    slots = np.zeros(2 * BINS + 1, np.int64)
    keys = add_compiled(loaded, flat, grid(exponent), new_tables(), slots)
    return None if keys is None else counted(slots, *map(value_of_key, keys))


def add_compiled(
    loaded: Kernels, flat: Floats, ends: Grid, tables: npt.NDArray[np.int32], slots: Counts
) -> tuple[int, int] | None:
    """Add the counts of float32 values to ``slots`` in place.

    Args:
        loaded: the compiled loops.
        flat: float32 [n], contiguous.
        ends: the bins.
        tables: from `new_tables`; scratch memory of the calling thread.
        slots: int64 [2·BINS + 1], zeros in the middle.

    Returns:
        The keys of the extreme values; None, and nothing added, if a value is outside the grid or not finite.
    """
    lowest, highest = loaded.count(
        flat, flat.view(np.int32), ends.scale, np.int32(ends.first), np.int32(ends.last), tables, slots
    )
    if lowest < ends.first or highest > ends.last:
        return None
    return lowest, highest


def new_tables() -> npt.NDArray[np.int32]:
    """Scratch memory for `add_compiled`."""
    return np.zeros((_TABLES, 2 * BINS + 1), np.int32)


def counted(slots: Counts, minimum: float, maximum: float) -> Counted:
    """The record of ``slots``, int64 [2·BINS + 1] with the zeros in the middle."""
    # + 0.0: never -0.0, which would depend on the order of the data
    return Counted(np.delete(slots, BINS), int(slots[BINS]), minimum + 0.0, maximum + 0.0)


def _exact_in_float32(exponent: int) -> bool:
    """Whether float32 times 2**-exponent neither underflows nor overflows; float64 has room to spare."""
    return -126 <= exponent <= 0


class Grid(NamedTuple):
    """Bins of width 2**exponent for the compiled loop.

    Attributes:
        scale: 2**-exponent.
        first, last: the keys of the ends.
        exact: whether float32 has room for values times the scale; float64 always has.
    """

    scale: np.floating[Any]
    first: int
    last: int
    exact: bool


@functools.cache
def grid(exponent: int) -> Grid:
    """The grid of bin width 2**exponent."""
    exact = _exact_in_float32(exponent)
    dtype = np.float32 if exact else np.float64
    limit = np.float32(min(math.ldexp(BINS, exponent), float(np.finfo(np.float32).max)))
    return Grid(dtype(math.ldexp(1.0, -exponent)), _key(-limit), _key(limit), exact)


def _key(value: np.float32) -> int:
    """An int32 that orders as the float32 does (see `trt_int8.calibration.counting_kernel`)."""
    bits = value.view(np.int32)
    return int(bits if bits >= 0 else bits ^ np.int32(0x7FFFFFFF))


def value_of_key(key: int) -> float:
    """Inverse of `_key`."""
    bits = np.int32(key if key >= 0 else key ^ 0x7FFFFFFF)
    return float(bits.view(np.float32))

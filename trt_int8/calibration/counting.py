"""Count values into the bins of `trt_int8.calibration.histogram`: the hot loop of calibration.

Two implementations with identical counts: numba's where it is installed (``pip install numba``) and there
is enough to count, numpy's otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.compiled import COUNT, COUNT_WIDE
from trt_int8.calibration.counting_kernel import SCRATCH
from trt_int8.calibration.machine_code import Loop, address

#: Bins on each side of zero.
BINS = 2048
#: Elements numpy counts at a time: the working set stays in the processor's cache.
_CHUNK = 1 << 15

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
    if flat.dtype == np.float32:
        exact = grid(exponent).exact
        loop = COUNT.after(0) if exact else COUNT_WIDE.after(numpy_takes([flat]))
        if loop is not None:
            return count_compiled(loop, flat, exponent)
    return count_numpy(flat, exponent)


def numpy_takes(arrays: Sequence[Floats]) -> float:
    """Seconds that numpy counts them for, roughly: 0.1 ms an array and 4 ns a value."""
    return 1e-4 * len(arrays) + 4e-9 * sum(array.size for array in arrays)


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


def count_compiled(loop: Loop, flat: Floats, exponent: int) -> Counted | None:
    """`count` of float32 by the compiled loop that the grid needs, see `add_compiled`."""
    slots = np.zeros(2 * BINS + 1, np.int64)
    keys = add_compiled(loop, flat, grid(exponent), new_scratch(), slots)
    return None if keys is None else counted(slots, *map(value_of_key, keys))


def add_compiled(
    loop: Loop, flat: Floats, ends: Grid, scratch: npt.NDArray[np.int32], slots: Counts
) -> tuple[int, int] | None:
    """Add the counts of float32 values to ``slots`` in place.

    Args:
        loop: `COUNT`, or `COUNT_WIDE` for a grid that is not exact in float32.
        flat: float32 [n].
        ends: the bins.
        scratch: from `new_scratch`, of the calling thread.
        slots: int64 [2·BINS + 1], zeros in the middle.

    Returns:
        The keys of the extreme values; None, and nothing added, if a value is outside the grid or not finite.
    """
    job = CountingJob([flat.size], [ends], [slots], scratch)
    job.run(loop, [np.ascontiguousarray(flat, np.float32)])
    lowest, highest = job.extremes[0].tolist()
    if lowest < ends.first or highest > ends.last:
        return None
    return lowest, highest


class CountingJob:
    """What the compiled loop needs to count arrays of the same sizes on the same grids again and again.

    Args:
        sizes: values of each array.
        grids: the bins of each, all exact or none.
        slots: where the counts of each go, int64 [2·BINS + 1].
        scratch: from `new_scratch`, of the calling thread.

    Attributes:
        ends: int32 [arrays, 2], the keys of the ends of the grids.
        extremes: int32 [arrays, 2], the keys of the least and the greatest value of the last run.
    """

    def __init__(
        self, sizes: list[int], grids: list[Grid], slots: list[Counts], scratch: npt.NDArray[np.int32]
    ) -> None:
        self.ends = np.array([(found.first, found.last) for found in grids], np.int32)
        self.extremes = np.empty((len(sizes), 2), np.int32)
        self._addresses = np.empty(len(sizes), np.int64)
        self._where = address(self._addresses)
        sizes_, scales = np.array(sizes, np.int64), np.array([found.scale for found in grids])
        where = np.array([address(found) for found in slots], np.int64)
        self._before = (sizes_, scales, self.ends, scratch, where, self.extremes)
        self._arguments = tuple(map(address, self._before))
        self._slots = slots  # the loop writes into them

    def run(self, loop: Loop, arrays: list[Floats]) -> None:
        """Count float32 arrays, contiguous, of the sizes given."""
        self._addresses[:] = [address(array) for array in arrays]
        loop(len(arrays), self._where, self._where, *self._arguments)


def new_scratch() -> npt.NDArray[np.int32]:
    """Scratch memory for the compiled loop."""
    return np.zeros(SCRATCH, np.int32)


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

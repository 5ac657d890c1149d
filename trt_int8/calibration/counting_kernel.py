"""The loop that counts, for numba to compile (see `trt_int8.calibration.counting`)."""

from __future__ import annotations

from typing import Any

import numpy as np

_BINS = 2048
_WIDTH = 2 * _BINS + 1
#: Elements whose bins are computed (vectorized) before they are counted (not vectorizable).
BLOCK = 4096
#: int32 of scratch memory: four tables of counters, and the bins of a block.
SCRATCH = 4 * _WIDTH + BLOCK
#: ``{}`` is the type of a scale.
ARGUMENTS = "int64 float32** int32** int64* {}* int32* int32* int64** int32*"

_ZERO = np.int32(_BINS)
_SIGN = np.int32(31)
_HIGHEST = np.int32(0x7FFFFFFF)
_LOWEST = np.int32(-0x80000000)


def count_all(
    number: Any,
    flats: Any,
    patterns: Any,
    sizes: Any,
    scales: Any,
    ends: Any,
    scratch: Any,
    slots: Any,
    extremes: Any,
) -> None:
    """Add the counts of arrays to ``slots`` [2·BINS + 1] each, of which slot BINS holds the zeros.

    All in one call, as threads would wait for each other between several. Values are compared as integers:
    flipping the magnitude bits of negative floats makes the order of float32 that of int32, infinities and
    NaN beyond all numbers, and integer extremes vectorize.

    Args:
        number: how many arrays.
        flats: their float32 values; ``patterns``: the same memory as int32.
        sizes: how many values each has.
        scales: 2**-exponent of each grid, float32, or float64 where float32 has no room.
        ends: the keys of both ends of each grid, one pair after the other.
        scratch: int32 [SCRATCH]; the tables are 0, and 0 again afterwards. Neighbouring elements go to
            different ones, so that a run of equal values (zeros behind a ReLU) does not wait for its own
            last store.
        slots: int64 each.
        extremes: written: the keys of the least and the greatest value of each array. Where one is beyond
            its end, nothing was added.
    """
    second, third, fourth, block = _WIDTH, 2 * _WIDTH, 3 * _WIDTH, 4 * _WIDTH
    for k in range(number):
        values, bits, size, scale, counts = flats[k], patterns[k], sizes[k], scales[k], slots[k]
        lowest, highest = _HIGHEST, _LOWEST
        first, last = np.int32(_WIDTH), np.int32(0)
        fits = True
        for start in range(0, size, BLOCK):
            length = min(BLOCK, size - start)
            low, high = _HIGHEST, _LOWEST
            for i in range(length):
                bit = bits[start + i]
                key = np.int32(bit ^ ((bit >> _SIGN) & _HIGHEST))
                low = min(low, key)
                high = max(high, key)
                scaled = values[start + i] * scale
                scratch[block + i] = np.int32(np.copysign(np.ceil(abs(scaled)), scaled)) + _ZERO
            lowest = min(low, lowest)
            highest = max(high, highest)
            if lowest < ends[2 * k] or highest > ends[2 * k + 1]:
                fits = False
                break
            if size <= BLOCK:
                for i in range(length):
                    counts[scratch[block + i]] += 1
                break
            for i in range(length):
                first = min(first, scratch[block + i])
                last = max(last, scratch[block + i])
            whole = length // 4
            for i in range(whole):
                scratch[scratch[block + 4 * i]] += 1
                scratch[second + scratch[block + 4 * i + 1]] += 1
                scratch[third + scratch[block + 4 * i + 2]] += 1
                scratch[fourth + scratch[block + 4 * i + 3]] += 1
            for i in range(4 * whole, length):
                scratch[scratch[block + i]] += 1
        extremes[2 * k], extremes[2 * k + 1] = lowest, highest
        # Only what was counted: most of the time of a small array would go into the rest.
        for i in range(first, last + 1):
            if fits:
                counts[i] += (
                    np.int64(scratch[i])
                    + np.int64(scratch[second + i])
                    + np.int64(scratch[third + i])
                    + np.int64(scratch[fourth + i])
                )
            scratch[i] = scratch[second + i] = scratch[third + i] = scratch[fourth + i] = 0

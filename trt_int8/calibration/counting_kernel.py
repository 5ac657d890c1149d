"""The loop that numba compiles (see `trt_int8.calibration.counting`)."""

from __future__ import annotations

from typing import Any

import numpy as np

_BINS = np.int32(2048)
#: Elements whose bins are computed (vectorized) before they are counted (not vectorizable).
BLOCK = 4096
_SIGN = np.int32(31)
_HIGHEST = np.int32(0x7FFFFFFF)
_LOWEST = np.int32(-0x80000000)


def count_into(
    flat: Any, bits: Any, scale: Any, lowest_key: Any, highest_key: Any, tables: Any, slots: Any
) -> Any:
    """Add the counts of ``flat`` to ``slots`` [2·BINS + 1], of which slot BINS holds the zeros.

    Values are compared as integers: flipping the magnitude bits of negative floats makes the order of
    float32 that of int32, infinities and NaN beyond all numbers, and integer extremes vectorize.

    Args:
        flat: float32 [n].
        bits: the same memory as int32.
        scale: 2**-exponent.
        lowest_key, highest_key: the keys of the ends of the grid.
        tables: integer counters [8, 2·BINS + 1], all 0; they are 0 again afterwards. Neighbouring
            elements go to different ones, so that a run of equal values (zeros behind a ReLU) does not
            wait for its own last store.
        slots: int64.

    Returns:
        The keys of the extreme values. Where one is beyond its end, nothing was added.
    """
    size = flat.size
    # Unsigned: an index that cannot be negative needs no test for counting from the end.
    found = np.empty(BLOCK, np.uint32)
    t0, t1, t2, t3 = tables[0], tables[1], tables[2], tables[3]
    t4, t5, t6, t7 = tables[4], tables[5], tables[6], tables[7]
    lowest, highest = _HIGHEST, _LOWEST
    for start in range(0, size, BLOCK):
        values = flat[start : start + BLOCK]
        patterns = bits[start : start + BLOCK]
        length = values.size
        low, high = _HIGHEST, _LOWEST
        for i in range(length):
            bit = patterns[i]
            key = np.int32(bit ^ ((bit >> _SIGN) & _HIGHEST))
            low = min(low, key)
            high = max(high, key)
            scaled = values[i] * scale
            found[i] = np.uint32(np.int32(np.copysign(np.ceil(abs(scaled)), scaled)) + _BINS)
        lowest = min(low, lowest)
        highest = max(high, highest)
        if lowest < lowest_key or highest > highest_key:
            if start > 0:
                tables[:] = 0
            return lowest, highest
        if size <= BLOCK:
            for i in range(length):
                slots[found[i]] += 1
            return lowest, highest
        whole = length // 8
        for i in range(whole):
            t0[found[8 * i]] += 1
            t1[found[8 * i + 1]] += 1
            t2[found[8 * i + 2]] += 1
            t3[found[8 * i + 3]] += 1
            t4[found[8 * i + 4]] += 1
            t5[found[8 * i + 5]] += 1
            t6[found[8 * i + 6]] += 1
            t7[found[8 * i + 7]] += 1
        for i in range(8 * whole, length):
            t0[found[i]] += 1
    for i in range(slots.size):
        slots[i] += (
            np.int64(t0[i]) + np.int64(t1[i]) + np.int64(t2[i]) + np.int64(t3[i])
            + np.int64(t4[i]) + np.int64(t5[i]) + np.int64(t6[i]) + np.int64(t7[i])
        )  # fmt: skip
    tables[:] = 0
    return lowest, highest

"""The loop that numba compiles (see `trt_int8.calibration.counting`)."""

from __future__ import annotations

from typing import Any

import numpy as np

_BINS = np.int32(2048)
#: Elements whose bins are computed (vectorized) before they are counted (not vectorizable).
_BLOCK = 2048
_MAGNITUDE = np.int32(0x7FFFFFFF)


def count_into(flat: Any, bits: Any, scale: Any, lowest_key: Any, highest_key: Any, tables: Any) -> Any:
    """Count ``flat`` into ``tables`` [8, 2·BINS + 1]; slot BINS holds the zeros.

    Values are compared as integers: flipping the magnitude bits of negative floats makes the order of
    float32 that of int32, infinities and NaN beyond all numbers, and integer extremes vectorize.

    Args:
        flat: float32 [n].
        bits: the same memory as int32.
        scale: 2**-exponent.
        lowest_key, highest_key: the keys of the ends of the grid.
        tables: counters. Neighbouring elements go to different ones, so that a run of equal values
            (zeros behind a ReLU) does not wait for its own last store.

    Returns:
        The keys of the extreme values. Where one is beyond its end, counting stopped there.
    """
    size = flat.size
    slots = np.empty(_BLOCK, np.int32)
    lowest, highest = _MAGNITUDE, ~_MAGNITUDE
    for start in range(0, size, _BLOCK):
        length = min(_BLOCK, size - start)
        for i in range(length):
            bit = bits[start + i]
            key = bit ^ ((bit >> np.int32(31)) & _MAGNITUDE)
            lowest = min(lowest, key)
            highest = max(highest, key)
            scaled = flat[start + i] * scale
            slots[i] = np.int32(np.copysign(np.ceil(abs(scaled)), scaled)) + _BINS
        if lowest < lowest_key or highest > highest_key:
            break
        whole = length // 8 * 8
        for i in range(0, whole, 8):
            tables[0, slots[i]] += 1
            tables[1, slots[i + 1]] += 1
            tables[2, slots[i + 2]] += 1
            tables[3, slots[i + 3]] += 1
            tables[4, slots[i + 4]] += 1
            tables[5, slots[i + 5]] += 1
            tables[6, slots[i + 6]] += 1
            tables[7, slots[i + 7]] += 1
        for i in range(whole, length):
            tables[0, slots[i]] += 1
    return lowest, highest

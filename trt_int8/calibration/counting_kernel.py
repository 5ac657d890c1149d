"""The loops that numba compiles (see `trt_int8.calibration.counting`); imported only where numba is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]  # in no stub of numba's
from numba.core import cgutils
from numba.extending import intrinsic

_BINS = np.int32(2048)
#: Elements whose bins are computed (vectorized) before they are counted (not vectorizable).
BLOCK = 4096
_SIGN = np.int32(31)
_HIGHEST = np.int32(0x7FFFFFFF)
_LOWEST = np.int32(-0x80000000)

_compiled: Any = njit(nogil=True, cache=True, error_model="numpy")


def _as_pointer(_: Any, address: Any) -> Any:
    """An int64 address as a pointer, which `carray` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


_pointer: Any = intrinsic(_as_pointer)


@_compiled  # type: ignore[untyped-decorator]  # numba's are
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
        tables: integer counters [4, 2·BINS + 1], all 0; they are 0 again afterwards. Neighbouring
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
    lowest, highest = _HIGHEST, _LOWEST
    first, last = np.uint32(slots.size), np.uint32(0)
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
        for i in range(length):
            first = min(first, found[i])
            last = max(last, found[i])
        whole = length // 4
        for i in range(whole):
            t0[found[4 * i]] += 1
            t1[found[4 * i + 1]] += 1
            t2[found[4 * i + 2]] += 1
            t3[found[4 * i + 3]] += 1
        for i in range(4 * whole, length):
            t0[found[i]] += 1
    # Only what was counted: most of the time of a small tensor would go into the rest.
    for i in range(first, np.int64(last) + 1):
        slots[i] += np.int64(t0[i]) + np.int64(t1[i]) + np.int64(t2[i]) + np.int64(t3[i])
    tables[:, first : last + 1] = 0
    return lowest, highest


@_compiled  # type: ignore[untyped-decorator]  # numba's are
def count_all(
    addresses: Any, sizes: Any, scales: Any, ends: Any, tables: Any, slots: Any, width: Any, extremes: Any
) -> None:
    """`count_into` for many arrays in one call: threads would otherwise wait for each other between them.

    Args:
        addresses: int64 [n]: where the float32 values are; ``sizes``: int64 [n], how many.
        scales: float32 [n]; ``ends``: int32 [n, 2], the keys of the ends of each grid.
        tables: scratch memory, see `count_into`.
        slots: int64 [n]: where the counts, int64 [``width``], are.
        extremes: int32 [n, 2], written: the keys of the extreme values.
    """
    for k in range(sizes.size):
        shape = (sizes[k],)
        extremes[k, 0], extremes[k, 1] = count_into(
            carray(_pointer(addresses[k]), shape, np.float32),
            carray(_pointer(addresses[k]), shape, np.int32),
            scales[k],
            ends[k, 0],
            ends[k, 1],
            tables,
            carray(_pointer(slots[k]), (width,), np.int64),
        )

"""The search for numba to compile (see `trt_int8.calibration.thresholds.entropy`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: log2 of the levels of the quantized distribution.
_SHIFT = 7
_LEVELS = 1 << _SHIFT
ARGUMENTS = "int64 float64* int64* int64* float64* int64 int64* float64 float64*"


def divergences(
    bins: Any,
    values: Any,
    mass: Any,
    filled: Any,
    plogp: Any,
    number: Any,
    candidates: Any,
    margin: Any,
    result: Any,
) -> None:
    """KL(P‖Q) for each number of kept bins, or inf for one that cannot be the least.

    Each level adds Σ c·ln c − S·ln(S/n) ≥ 0 to the divergence (the log-sum inequality), so that a
    candidate is given up as soon as its sum is above the least one so far.

    Args:
        bins: how many there are.
        values: float64 [bins], the counts.
        mass, filled, plogp: prefix sums [bins + 1] of counts, of non-empty bins (int64) and of c·ln c.
        number: of candidates.
        candidates: int64 [number].
        margin: how far above the least one a divergence may be and still counts.
        result: written: float64 [number].
    """
    total = np.float64(mass[bins])
    least = math.inf
    for c in range(number - 1, -1, -1):
        result[c] = math.inf
        kept = candidates[c]
        clipped = total - mass[kept]
        last = values[kept - 1]
        if clipped > 0 and last == 0:
            continue
        correction = 0.0
        if clipped > 0:
            start = (((kept - 1) * _LEVELS // kept) * kept + _LEVELS - 1) >> _SHIFT
            spread = np.float64(mass[kept] - mass[start]) / (filled[kept] - filled[start])
            both = last + clipped
            correction = both * math.log(both) - last * math.log(last) - clipped * math.log(spread)
        limit = (least + margin) * total - correction
        entropy = 0.0
        start = 0
        for level in range(1, _LEVELS + 1):
            end = (level * kept + _LEVELS - 1) >> _SHIFT
            inside = mass[end] - mass[start]
            if inside > 0:
                amount = np.float64(inside)
                entropy += amount * math.log(amount / (filled[end] - filled[start]))
                if plogp[end] - entropy > limit:
                    break
            start = end
        else:
            result[c] = (plogp[kept] - entropy + correction) / total
            least = min(least, result[c])

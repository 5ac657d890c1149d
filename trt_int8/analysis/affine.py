"""The best that INT8 with a zero point could do: what symmetry is measured against."""

from __future__ import annotations

import numpy as np

from trt_int8.calibration.density import Density, noise

#: Clipping tried on each side, as shares of its extreme value.
_SHARES = np.concatenate([np.geomspace(1 / 32, 0.9, 24), np.linspace(0.91, 1.01, 11)])
_ROUNDS = 3


def best_affine(density: Density, *, minimum: float, maximum: float, symmetric: float) -> tuple[float, int]:
    """Scale and zero point with the least squared error, as ONNX's QuantizeLinear has them.

    An int8 zero point is itself a code, so the range holds 0. Each side is clipped in turn where the error
    falls; the symmetric scale is a candidate, so the result is never worse.

    Args:
        density: of the tensor.
        minimum, maximum: its extreme values.
        symmetric: the best scale with zero point 0.
    """
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    ends = [low, high]
    best = (noise(density, symmetric), symmetric, 0)
    for _ in range(_ROUNDS):
        before = best
        for side, extreme in ((0, low), (1, high)):
            for share in _SHARES if extreme else ():
                tried = list(ends)
                tried[side] = extreme * share
                scale, zero_point = parameters(*tried)
                error = noise(density, scale, zero_point)
                if error < best[0]:
                    best = (error, scale, zero_point)
                    ends = tried
        if best == before:
            break
    return best[1], best[2]


def parameters(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point that put codes -128 to 127 on [low, high], low ≤ 0 ≤ high."""
    scale = float(np.float32((high - low) / 255))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127)) if scale > 0 else 0
    return scale, zero_point

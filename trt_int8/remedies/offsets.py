"""Which offset makes the most of 256 codes, from the histogram of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trt_int8.analysis.density import density
from trt_int8.analysis.noise import noise, sqnr_db
from trt_int8.calibration.histogram import Histogram

_SHARES = np.concatenate([np.geomspace(1 / 32, 0.9, 24), np.linspace(0.91, 1.01, 11)])
_ROUNDS = 3


@dataclass(frozen=True)
class Offset:
    """The result of `best_offset`.

    Attributes:
        scale: step of the codes, a float32 value.
        steps: the offset in steps.
        sqnr_db: predicted SQNR of the tensor, recentred and quantized so.
    """

    scale: float
    steps: int
    sqnr_db: float

    @property
    def value(self) -> float:
        """μ: a whole multiple of the scale, so that 0 stays exact."""
        return self.steps * self.scale


def best_offset(histogram: Histogram) -> Offset | None:
    """The offset and scale with the least squared error; None for a tensor of one value or none.

    With μ = k·scale, x − μ in symmetric INT8 has the same error as x with a zero point of −k, which need
    not be a code here. Each end of the range is clipped in turn where that helps.
    """
    low = min(histogram.minimum, 0.0) if histogram.zeros else histogram.minimum
    high = max(histogram.maximum, 0.0) if histogram.zeros else histogram.maximum
    if not high > low:
        return None
    coarse, middle = density(histogram, parts=1), (low + high) / 2
    extremes, ends, least = (low, high), [low, high], np.inf
    for _ in range(_ROUNDS):
        before = least
        for side in (0, 1):
            start = list(ends)
            for share in _SHARES:
                tried = list(start)
                tried[side] = middle + (extremes[side] - middle) * share
                scale, steps = _parameters(*tried)
                error = noise(coarse, scale, -steps) if scale > 0 else np.inf
                if error < least:
                    least, ends = error, tried
        if least == before:
            break
    scale, steps = _parameters(*ends)
    return Offset(scale, steps, sqnr_db(density(histogram), scale, -steps)) if scale > 0 else None


def _parameters(low: float, high: float) -> tuple[float, int]:
    """Scale and offset in steps that put codes -128 to 127 on [low, high]."""
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.rint(low / scale)) + 128 if scale > 0 else 0

"""Find the offset that uses the 256 INT8 values best, from the histogram of a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from trt_int8.analysis.flags import bulk
from trt_int8.calibration.density import Density, density, noise, sqnr_db
from trt_int8.calibration.histogram import Histogram

_SHARES = np.concatenate([np.geomspace(1 / 32, 0.9, 24), np.linspace(0.91, 1.01, 11)])
_ROUNDS = 3


@dataclass(frozen=True)
class Offset:
    """The result of `best_offset`.

    Attributes:
        scale: the step between INT8 values, a float32 value.
        steps: the offset in steps.
        sqnr_db: predicted SQNR of the tensor with this scale and offset.
    """

    scale: float
    steps: int
    sqnr_db: float

    @property
    def value(self) -> float:
        """μ: a whole multiple of the scale, so that 0 stays exact."""
        return self.steps * self.scale


def best_offset(
    histogram: Histogram, *, unseen: Histogram | None = None, amax: float = math.inf
) -> Offset | None:
    """Return the offset and scale with the best SQNR on ``unseen``; None if all values are equal.

    A single outlier moves the middle of all values. So three offsets are computed from ``histogram``, each
    with the least squared error: over all values, over values clipped to ±``amax``, and over values clipped
    to the bulk (`trt_int8.analysis.flags.bulk`). The best one on ``unseen`` is returned.

    Args:
        histogram: of the values that the offset is fitted to.
        unseen: of other values of the tensor; None: ``histogram``.
        amax: the calibrated range of the tensor.
    """
    other = unseen if unseen is not None and unseen.amax > 0 else histogram
    cells, coarse = _with_zeros(density(other)), _with_zeros(density(histogram, parts=1))
    lowest, highest = histogram.minimum, histogram.maximum
    limits = [(lowest, highest), (max(lowest, -amax), min(highest, amax)), bulk(density(histogram, parts=1))]
    found = []
    for low, high in dict.fromkeys(limits):
        if histogram.zeros:
            low, high = min(low, 0.0), max(high, 0.0)
        if high > low:
            clipped = replace(
                coarse, low=np.clip(coarse.low, low, high), high=np.clip(coarse.high, low, high)
            )
            scale, steps = _fitted(clipped, low, high)
            if scale > 0:
                found.append(Offset(scale, steps, sqnr_db(cells, scale, -steps)))
    return max(found, key=lambda offset: offset.sqnr_db, default=None)


def _fitted(coarse: Density, low: float, high: float) -> tuple[float, int]:
    """Return scale and offset in steps with the least squared error.

    With μ = k·scale, x − μ in symmetric INT8 has the same error as x with a zero point of −k, which may lie
    outside the INT8 values here. Each end of the range is clipped in turn where that helps.
    """
    middle = (low + high) / 2
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
    return _parameters(*ends)


def _with_zeros(cells: Density) -> Density:
    """Return the zeros as ordinary values: with an offset they can be clipped."""
    return replace(
        cells,
        low=np.append(cells.low, 0.0),
        high=np.append(cells.high, 0.0),
        weight=np.append(cells.weight, cells.zeros),
        zeros=0.0,
    )


def _parameters(low: float, high: float) -> tuple[float, int]:
    """Return scale and offset in steps that map [low, high] to the INT8 values -128 to 127."""
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.rint(low / scale)) + 128 if scale > 0 else 0

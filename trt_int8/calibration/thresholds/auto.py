"""The best of the other methods for each tensor, evaluated on batches that the ranges were not fitted to."""

from __future__ import annotations

import math

from trt_int8.calibration.density import Density, density, sqnr_db
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import Threshold, methods, threshold_method
from trt_int8.ranges.ranges import TensorRange


@threshold_method(
    "auto", "for each tensor the method with the best SQNR on every fourth batch", held_back=True
)
def auto_threshold(fitted: Histogram, held_back: Histogram) -> Threshold:
    """Return the threshold with the best SQNR on ``held_back``, of those the others find on ``fitted``.

    Among equals entropy wins, then the order of `trt_int8.calibration.thresholds.names`.
    """
    unseen = density(held_back)
    found = [other.threshold(fitted) for other in methods(held_back=False).values()]
    return max(found, key=lambda threshold: _score(threshold, unseen))


def _score(threshold: Threshold, unseen: Density) -> float:
    scale = TensorRange(threshold.amax, source=threshold.method).scale
    sqnr = sqnr_db(unseen, float(scale))
    return -math.inf if math.isnan(sqnr) else sqnr

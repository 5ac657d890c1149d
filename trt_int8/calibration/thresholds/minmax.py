"""The largest absolute value: nothing is clipped."""

from __future__ import annotations

from trt_int8.calibration.histogram import Histogram


def minmax_amax(histogram: Histogram) -> float:
    """max |x|, as ``IInt8MinMaxCalibrator`` keeps it (TensorRT quantizes symmetrically)."""
    return histogram.amax

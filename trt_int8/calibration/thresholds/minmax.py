"""The largest absolute value: nothing is clipped."""

from __future__ import annotations

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import threshold_method


@threshold_method(
    "minmax",
    r"max \|x\|: nothing is clipped",
    source="what `IInt8MinMaxCalibrator` keeps",
    calibrator="MinMaxCalibration",
)
def minmax_amax(histogram: Histogram) -> float:
    """max |x|, as ``IInt8MinMaxCalibrator`` keeps it (TensorRT quantizes symmetrically)."""
    return histogram.amax

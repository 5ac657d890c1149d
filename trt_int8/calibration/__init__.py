"""The float model's activations become histograms, and histograms become ranges."""

from trt_int8.calibration.calibration import Calibration, calibrate
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.run import collect
from trt_int8.calibration.thresholds import ALGORITHMS

__all__ = ["ALGORITHMS", "Calibration", "Histogram", "Histograms", "calibrate", "collect"]

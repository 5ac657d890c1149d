"""Dynamic ranges, and the files that store them."""

from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange

__all__ = ["CalibrationCache", "Ranges", "TensorRange"]

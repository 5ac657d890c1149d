"""Dynamic ranges, and the text file in which TensorRT keeps them."""

from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange

__all__ = ["CalibrationCache", "Ranges", "TensorRange"]

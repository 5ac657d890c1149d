"""The main job, one way: model and data → Q/DQ model → engine, and a record of what was measured."""

from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.pipeline.prepare import Prepared, prepare
from trt_int8.pipeline.quantize import QuantizedModel, quantize_from_data

__all__ = [
    "CalibrationOptions",
    "Prepared",
    "Profile",
    "QuantizationOptions",
    "QuantizedModel",
    "prepare",
    "quantize_from_data",
]

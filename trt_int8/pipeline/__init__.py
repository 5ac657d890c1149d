"""The one way from model and data to an engine: `prepare` → `quantize_from_data` → `build.build_engine`."""

from trt_int8.pipeline.migrate import MigratedModel, migrate_prepared
from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.pipeline.prepare import Prepared, prepare
from trt_int8.pipeline.quantize import QuantizedModel, quantize_from_data

__all__ = [
    "CalibrationOptions",
    "MigratedModel",
    "Prepared",
    "Profile",
    "QuantizationOptions",
    "QuantizedModel",
    "migrate_prepared",
    "prepare",
    "quantize_from_data",
]

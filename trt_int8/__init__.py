"""From a trained ONNX model and calibration data to a verified INT8 TensorRT engine.

>>> import trt_int8
>>> cache = trt_int8.CalibrationCache.parse("TRT-8601-EntropyCalibration2\\ndata: 3c008912\\n")
>>> round(float(cache.ranges()["data"].scale), 6)
0.007845

Names are imported on first use: ``import trt_int8`` itself is quick and needs no optional package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from trt_int8.calibration import Calibration, Histograms, calibrate
    from trt_int8.errors import TrtInt8Error
    from trt_int8.evaluation import Evaluation, evaluate
    from trt_int8.graph import ShapeRange, parse_shapes
    from trt_int8.pipeline import (
        CalibrationOptions,
        Profile,
        QuantizationOptions,
        QuantizedModel,
        quantize_from_data,
    )
    from trt_int8.pipeline.build import BuildResult, build_engine
    from trt_int8.quantization import Quantized, quantize
    from trt_int8.quantization.check import Checked, Finding, check_qdq, fix_qdq
    from trt_int8.quantization.migration import cache_from_qdq
    from trt_int8.quantization.migration.migrate import Migration, migrate
    from trt_int8.ranges import CalibrationCache, Ranges, TensorRange
    from trt_int8.record import QuantizationRecord
    from trt_int8.report import PrecisionReport

#: Public name → module that defines it.
_PUBLIC = {
    "BuildResult": "trt_int8.pipeline.build",
    "Calibration": "trt_int8.calibration",
    "CalibrationCache": "trt_int8.ranges",
    "CalibrationOptions": "trt_int8.pipeline",
    "Checked": "trt_int8.quantization.check",
    "Evaluation": "trt_int8.evaluation",
    "Finding": "trt_int8.quantization.check",
    "Histograms": "trt_int8.calibration",
    "Migration": "trt_int8.quantization.migration",
    "PrecisionReport": "trt_int8.report",
    "Profile": "trt_int8.pipeline",
    "QuantizationOptions": "trt_int8.pipeline",
    "QuantizationRecord": "trt_int8.record",
    "Quantized": "trt_int8.quantization",
    "QuantizedModel": "trt_int8.pipeline",
    "Ranges": "trt_int8.ranges",
    "ShapeRange": "trt_int8.graph",
    "TensorRange": "trt_int8.ranges",
    "TrtInt8Error": "trt_int8.errors",
    "build_engine": "trt_int8.pipeline.build",
    "cache_from_qdq": "trt_int8.quantization.migration",
    "calibrate": "trt_int8.calibration",
    "check_qdq": "trt_int8.quantization.check",
    "evaluate": "trt_int8.evaluation",
    "fix_qdq": "trt_int8.quantization.check",
    "migrate": "trt_int8.quantization.migration",
    "parse_shapes": "trt_int8.graph",
    "quantize": "trt_int8.quantization",
    "quantize_from_data": "trt_int8.pipeline",
}
__all__ = [
    "BuildResult",
    "Calibration",
    "CalibrationCache",
    "CalibrationOptions",
    "Checked",
    "Evaluation",
    "Finding",
    "Histograms",
    "Migration",
    "PrecisionReport",
    "Profile",
    "QuantizationOptions",
    "QuantizationRecord",
    "Quantized",
    "QuantizedModel",
    "Ranges",
    "ShapeRange",
    "TensorRange",
    "TrtInt8Error",
    "build_engine",
    "cache_from_qdq",
    "calibrate",
    "check_qdq",
    "evaluate",
    "fix_qdq",
    "migrate",
    "parse_shapes",
    "quantize",
    "quantize_from_data",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trt_int8' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "__version__"])


def _version() -> str:
    """Return the version that is installed; ``0+unknown`` for a source tree that is not."""
    from importlib import metadata

    try:
        return metadata.version("trt_int8")
    except metadata.PackageNotFoundError:
        return "0+unknown"

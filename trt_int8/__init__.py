"""From a trained ONNX model and calibration data to a verified INT8 TensorRT engine.

>>> import trt_int8
>>> cache = trt_int8.CalibrationCache.parse("TRT-8601-EntropyCalibration2\\ndata: 3c008912\\n")
>>> round(float(cache.ranges()["data"].scale), 6)
0.007845

Names are imported on first use, so that ``import trt_int8`` is quick and needs no optional package.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# onnxruntime reads this once, when it is imported. Without it, some versions store an identifier of the
# device under the user's cache folder and send telemetry. A value that the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    __version__: str
    from trt_int8.calibration import Calibration as Calibration
    from trt_int8.calibration import Histograms as Histograms
    from trt_int8.calibration import calibrate as calibrate
    from trt_int8.errors import TrtInt8Error as TrtInt8Error
    from trt_int8.evaluation import Evaluation as Evaluation
    from trt_int8.evaluation import evaluate as evaluate
    from trt_int8.graph import ShapeRange as ShapeRange
    from trt_int8.graph import parse_shapes as parse_shapes
    from trt_int8.pipeline import CalibrationOptions as CalibrationOptions
    from trt_int8.pipeline import Profile as Profile
    from trt_int8.pipeline import QuantizationOptions as QuantizationOptions
    from trt_int8.pipeline import QuantizedModel as QuantizedModel
    from trt_int8.pipeline import quantize_from_data as quantize_from_data
    from trt_int8.pipeline.build import BuildResult as BuildResult
    from trt_int8.pipeline.build import build_engine as build_engine
    from trt_int8.quantization import Quantized as Quantized
    from trt_int8.quantization import quantize as quantize
    from trt_int8.quantization.check import Checked as Checked
    from trt_int8.quantization.check import Finding as Finding
    from trt_int8.quantization.check import check_qdq as check_qdq
    from trt_int8.quantization.check import fix_qdq as fix_qdq
    from trt_int8.quantization.migration import cache_from_qdq as cache_from_qdq
    from trt_int8.quantization.migration.migrate import Migration as Migration
    from trt_int8.quantization.migration.migrate import migrate as migrate
    from trt_int8.ranges import CalibrationCache as CalibrationCache
    from trt_int8.ranges import Ranges as Ranges
    from trt_int8.ranges import TensorRange as TensorRange
    from trt_int8.record import QuantizationRecord as QuantizationRecord
    from trt_int8.report import PrecisionReport as PrecisionReport

#: Module → the public names that it defines.
_MODULES = {
    "calibration": "Calibration Histograms calibrate",
    "errors": "TrtInt8Error",
    "evaluation": "Evaluation evaluate",
    "graph": "ShapeRange parse_shapes",
    "pipeline": "CalibrationOptions Profile QuantizationOptions QuantizedModel quantize_from_data",
    "pipeline.build": "BuildResult build_engine",
    "quantization": "Quantized quantize",
    "quantization.check": "Checked Finding check_qdq fix_qdq",
    "quantization.migration": "Migration cache_from_qdq migrate",
    "ranges": "CalibrationCache Ranges TensorRange",
    "record": "QuantizationRecord",
    "report": "PrecisionReport",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trt_int8' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trt_int8.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "__version__"])


def _version() -> str:
    """Return the installed version; ``0+unknown`` for a source tree that is not installed."""
    from importlib import metadata

    try:
        return metadata.version("trt_int8")
    except metadata.PackageNotFoundError:
        return "0+unknown"

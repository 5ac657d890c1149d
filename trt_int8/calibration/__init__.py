"""The float model's activations become histograms, and histograms become ranges.

Names are imported on first use: the names of the threshold methods, which the command line lists, need
neither numpy nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_int8.calibration.calibration import Calibration, calibrate
    from trt_int8.calibration.histogram import Histogram
    from trt_int8.calibration.histograms import Histograms
    from trt_int8.calibration.run import collect

_PUBLIC = {
    "Calibration": "calibration",
    "Histogram": "histogram",
    "Histograms": "histograms",
    "calibrate": "calibration",
    "collect": "run",
}

__all__ = ["Calibration", "Histogram", "Histograms", "calibrate", "collect"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trt_int8.calibration' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trt_int8.calibration.{_PUBLIC[name]}"), name)

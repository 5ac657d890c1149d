"""Turn the float model's activations into histograms, and histograms into ranges.

Names are imported on first use: the list of threshold methods, for the command line, needs neither numpy nor
onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_int8.calibration.calibration import Calibration as Calibration
    from trt_int8.calibration.calibration import calibrate as calibrate
    from trt_int8.calibration.histogram import Histogram as Histogram
    from trt_int8.calibration.histograms import Histograms as Histograms
    from trt_int8.calibration.run import collect as collect

_PUBLIC = {
    "Calibration": "calibration",
    "Histogram": "histogram",
    "Histograms": "histograms",
    "calibrate": "calibration",
    "collect": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trt_int8.calibration' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trt_int8.calibration.{_PUBLIC[name]}"), name)

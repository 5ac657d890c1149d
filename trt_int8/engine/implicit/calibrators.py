"""Calibrators for TensorRT, as subclasses of its own. Importing this module imports TensorRT.

Import them with ``from trt_int8.engine.implicit import EntropyCalibrator``. Set one as
``config.int8_calibrator`` in your own builder script, or pass it to Polygraphy's
``CreateConfig(int8=True, calibrator=…)``, and call `raise_if_failed` after the build. For arguments and
errors see `trt_int8.engine.implicit.callbacks.CalibratorCallbacks`.
"""

from __future__ import annotations

from typing import Any

from trt_int8.engine.implicit.callbacks import CalibratorCallbacks
from trt_int8.engine.tensorrt import load_implicit

_tensorrt = load_implicit()
trt: Any = _tensorrt.module


class EntropyCalibrator(CalibratorCallbacks, trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # TensorRT has no types
    """``IInt8EntropyCalibrator2``: per tensor the scale with the lowest KL divergence. The usual choice."""

    algorithm = "EntropyCalibration2"
    tensorrt = _tensorrt.version


class MinMaxCalibrator(CalibratorCallbacks, trt.IInt8MinMaxCalibrator):  # type: ignore[misc]  # TensorRT has no types
    """``IInt8MinMaxCalibrator``: for each tensor the whole range, without clipping; often better for NLP."""

    algorithm = "MinMaxCalibration"
    tensorrt = _tensorrt.version

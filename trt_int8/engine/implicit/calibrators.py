"""TensorRT's calibrator classes, subclassed. Importing this module imports TensorRT.

Take them from the package, ``from trt_int8.engine.implicit import EntropyCalibrator``. They are TensorRT
calibrators like any other: set one as ``config.int8_calibrator`` in your own builder script, or pass it to
Polygraphy's ``CreateConfig(int8=True, calibrator=…)``, and call `raise_if_failed` after the build.
"""

from __future__ import annotations

from typing import Any

from trt_int8.engine.implicit.callbacks import CalibratorCallbacks
from trt_int8.engine.tensorrt import load_implicit

_tensorrt = load_implicit()
trt: Any = _tensorrt.module


class EntropyCalibrator(CalibratorCallbacks, trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # TensorRT has no types
    """``IInt8EntropyCalibrator2``: the scale of least KL divergence for each tensor. The usual choice.

    Arguments and errors: see `trt_int8.engine.implicit.callbacks.CalibratorCallbacks`.
    """

    algorithm = "EntropyCalibration2"
    tensorrt = _tensorrt.version


class MinMaxCalibrator(CalibratorCallbacks, trt.IInt8MinMaxCalibrator):  # type: ignore[misc]  # TensorRT has no types
    """``IInt8MinMaxCalibrator``: the whole range of each tensor, nothing clipped; often better for NLP.

    Arguments and errors: see `trt_int8.engine.implicit.callbacks.CalibratorCallbacks`.
    """

    algorithm = "MinMaxCalibration"
    tensorrt = _tensorrt.version

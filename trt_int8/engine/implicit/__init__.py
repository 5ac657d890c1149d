"""The implicit route (TensorRT 8.6 to 10): TensorRT calibrates and chooses the layers for INT8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trt_int8.engine.implicit.build import ImplicitOptions
from trt_int8.engine.implicit.callbacks import CalibrationSummary, CalibratorCallbacks
from trt_int8.engine.implicit.fingerprint import Fingerprint

if TYPE_CHECKING:
    from trt_int8.engine.implicit.calibrators import EntropyCalibrator as EntropyCalibrator
    from trt_int8.engine.implicit.calibrators import MinMaxCalibrator as MinMaxCalibrator

# The two classes that need TensorRT are left out, so that a star import works without it.
__all__ = ["CalibrationSummary", "CalibratorCallbacks", "Fingerprint", "ImplicitOptions"]
_NEED_TENSORRT = ("EntropyCalibrator", "MinMaxCalibrator")


def __getattr__(name: str) -> Any:
    """Import the classes that derive from TensorRT's only when they are used.

    Raises:
        MissingDependencyError: TensorRT is not installed, or has no calibrators.
    """
    if name in _NEED_TENSORRT:
        from trt_int8.engine.implicit import calibrators

        return getattr(calibrators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

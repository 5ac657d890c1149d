"""The errors of this package.

::

    TrtInt8Error
    ├── ModelError              the ONNX model cannot be read, checked or used
    ├── ShapeError              shapes of a dynamic model are missing or do not fit it
    ├── DataError               calibration or evaluation data does not fit the model
    ├── CalibrationError        the model's activations cannot be used for calibration
    ├── CacheError              a calibration cache cannot be read or does not fit
    ├── RangeError              manually set dynamic ranges cannot be read, or match no tensor
    ├── QuantizationError       no Q/DQ model can be made from this model and these ranges
    ├── BuildError              TensorRT's parser or builder failed (with its lines and the log)
    ├── ReportError             a build log or layer information cannot be read
    ├── ConfigError             a configuration file cannot be read
    ├── OutputError             a result cannot be written
    └── MissingDependencyError  an optional package is not installed (names the command)

Each message has the value, the place (file:line, tensor, batch) and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trt_int8.printable import printable


class TrtInt8Error(Exception):
    """Base of all errors of this package."""


class ModelError(TrtInt8Error):
    """The ONNX model cannot be read, checked or used."""


class ShapeError(TrtInt8Error):
    """Shapes of a dynamic model are missing or do not fit it."""


class DataError(TrtInt8Error):
    """Calibration or evaluation data does not fit the model."""


class CalibrationError(TrtInt8Error):
    """The model's activations cannot be used for calibration."""


class CacheError(TrtInt8Error):
    """A calibration cache cannot be read or does not fit."""


class RangeError(TrtInt8Error):
    """Manually set dynamic ranges cannot be read, or match no tensor."""


class QuantizationError(TrtInt8Error):
    """No Q/DQ model can be made from this model and these ranges."""


class PlanMismatchError(QuantizationError):
    """A precision plan was searched for another placement.

    Attributes:
        placement: the placement that is wanted, as `Placement.text`.
        budget: the limits that the plan was searched for.
    """

    def __init__(self, message: str, *, placement: str, budget: Mapping[str, float]) -> None:
        super().__init__(message)
        self.placement, self.budget = placement, budget


class ReportError(TrtInt8Error):
    """A build log or layer information cannot be read."""


class ConfigError(TrtInt8Error):
    """A configuration file cannot be read."""


class OutputError(TrtInt8Error):
    """A result cannot be written."""


class MissingDependencyError(TrtInt8Error):
    """An optional package is not installed; the message has the command that installs it."""


class BuildError(TrtInt8Error):
    """TensorRT could not parse the model or build the engine.

    Attributes:
        lines: TensorRT's own error lines, in order.
        log: the file with the whole verbose log, if one was asked for and a build began.
    """

    def __init__(self, message: str, *, lines: Sequence[str] = (), log: Path | None = None) -> None:
        super().__init__(message)
        self.lines = tuple(lines)
        self.log = log

    def __str__(self) -> str:
        parts = [super().__str__(), *(f"  {printable(line)}" for line in self.lines)]
        if self.log is not None:
            parts.append(f"  whole log: {printable(str(self.log))}")
        return "\n".join(parts)

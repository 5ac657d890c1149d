"""The one module that knows TensorRT comes in several versions and flavours.

Everything else asks a `TensorRT` handle what it can do. Capabilities are looked up with ``hasattr``:
version strings compare wrongly as text, and enum values moved between releases.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from trt_int8.dependencies import require
from trt_int8.engine.log import BuildLog, Severity
from trt_int8.errors import BuildError, MissingDependencyError

Flavor = Literal["tensorrt", "tensorrt_rtx"]

#: Build for the GPU in this machine.
CURRENT = "current"
#: What TensorRT-RTX builds for where nothing is said; it has no GPU to ask.
DEFAULT_TARGET = "sm89"


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT module and what it can do.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        flavor: its name.
    """

    module: ModuleType
    flavor: Flavor

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def name(self) -> str:
        """For people: ``TensorRT-RTX 1.7.1.116``."""
        return f"{'TensorRT-RTX' if self.flavor == 'tensorrt_rtx' else 'TensorRT'} {self.version}"

    @property
    def has_implicit_int8(self) -> bool:
        """Whether calibrators and dynamic ranges exist (TensorRT up to 10)."""
        return hasattr(self.module, "IInt8EntropyCalibrator2") and hasattr(self.module.BuilderFlag, "INT8")

    @property
    def builds_ahead_of_time(self) -> bool:
        """Whether engines can be built for a GPU that is not there (TensorRT-RTX)."""
        return hasattr(self.module, "ComputeCapability") and hasattr(
            self.module.IBuilderConfig, "set_compute_capability"
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """What ``target`` can be: ``current``, and ``sm75`` … where built ahead of time."""
        if not self.builds_ahead_of_time:
            return (CURRENT,)
        names = (name.lower() for name in self.module.ComputeCapability.__members__)
        return (CURRENT, *(name for name in names if name.startswith("sm")))

    @property
    def default_target(self) -> str:
        return DEFAULT_TARGET if DEFAULT_TARGET in self.targets else CURRENT

    def logger(self, log: BuildLog) -> Any:
        """An ``ILogger`` that hands every line to ``log`` and never raises into TensorRT."""
        return _logger_class(self.module)(log)

    def explicit_network_flags(self) -> int:
        """Creation flags for a network whose types are those of the model (strongly typed)."""
        flag = self.module.NetworkDefinitionCreationFlag
        return 1 << int(flag.STRONGLY_TYPED) if hasattr(flag, "STRONGLY_TYPED") else 0

    def resolve_target(self, target: str | None) -> str:
        """``target``, or the default for None.

        Raises:
            BuildError: this TensorRT cannot build for ``target``.
        """
        resolved = target or self.default_target
        if resolved not in self.targets:
            raise BuildError(
                f"{self.name} cannot build for target {resolved!r}; it can for {', '.join(self.targets)}"
            )
        return resolved

    def set_target(self, config: Any, target: str) -> None:
        """Set the compute capability to build for, one of `targets`."""
        # Left unset, TensorRT-RTX builds without saying for what; CURRENT asks the driver.
        if self.builds_ahead_of_time:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(self.module.ComputeCapability, target.upper()), 0)

    def set_detailed_layers(self, config: Any) -> None:
        """Have the log and the inspector name datatypes, tactics and ONNX nodes of every layer."""
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED


def load(flavor: Flavor | None = None, *, target: str | None = None) -> TensorRT:
    """Import TensorRT.

    Args:
        flavor: which one; None takes TensorRT-RTX for an ``sm…`` target, else TensorRT if it is
            installed, else TensorRT-RTX.
        target: what will be built for.

    Raises:
        MissingDependencyError: what is wanted is not installed.
    """
    purpose = "building an engine"
    if flavor is not None:
        return TensorRT(require(flavor, purpose=purpose), flavor)
    if target is None or target == CURRENT:
        try:
            return TensorRT(require("tensorrt", purpose=purpose), "tensorrt")
        except MissingDependencyError:
            pass
    try:
        return TensorRT(require("tensorrt_rtx", purpose=purpose), "tensorrt_rtx")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error} (builds without a GPU); or on a machine with a GPU: pip install 'tensorrt-cu12>=10,<11'"
        ) from error


def _logger_class(trt: ModuleType) -> Any:
    names: dict[Any, Severity] = {
        trt.ILogger.INTERNAL_ERROR: "F",
        trt.ILogger.ERROR: "E",
        trt.ILogger.WARNING: "W",
        trt.ILogger.INFO: "I",
        trt.ILogger.VERBOSE: "V",
    }

    class Recorder(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self, log: BuildLog) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the base called by name
            self._log = log

        def log(self, severity: Any, message: str) -> None:
            self._log.add(names.get(severity, "V"), message)

    return Recorder

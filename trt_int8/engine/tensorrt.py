"""The one module that knows TensorRT comes in several versions and flavours.

Everything else asks a `TensorRT` handle what it can do. Capabilities are looked up with ``hasattr``:
version strings compare wrongly as text, and enum values moved between releases.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Protocol

from trt_int8.dependencies import require
from trt_int8.engine.log import BuildLog, Severity
from trt_int8.errors import BuildError, MissingDependencyError

Flavor = Literal["tensorrt", "tensorrt_rtx"]

#: Build for the GPU in this machine.
CURRENT = "current"
#: What TensorRT-RTX builds for where nothing is said; it has no GPU to ask.
DEFAULT_TARGET = "sm89"
#: How to get a TensorRT with calibrators.
INSTALL_IMPLICIT = "pip install 'tensorrt-cu12>=10,<11' pycuda"


class Watcher(Protocol):
    """Follows the nested stages of a build."""

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A stage of ``steps`` steps begins, inside ``parent`` or outermost."""

    def step(self, name: str, step: int) -> bool:
        """Step number ``step`` of a stage, from 0, is done. Returns whether to go on."""

    def finish(self, name: str) -> None:
        """A stage is over."""


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

    def require_implicit_int8(self) -> None:
        """Check that calibrators and dynamic ranges exist.

        Raises:
            MissingDependencyError: they do not, in TensorRT 11 and TensorRT-RTX.
        """
        if not self.has_implicit_int8:
            raise MissingDependencyError(
                f"{self.name} has no INT8 calibrators and no dynamic ranges: they ended with TensorRT 10.\n"
                "Take the explicit route (Q/DQ nodes; --mode explicit), or install TensorRT 10: "
                f"{INSTALL_IMPLICIT}"
            )

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

    def implicit_network_flags(self) -> int:
        """Creation flags for a network whose precisions the builder chooses (weakly typed)."""
        flag = self.module.NetworkDefinitionCreationFlag
        # Without it TensorRT 8 takes the batch size from elsewhere; later ones know nothing else.
        return 1 << int(flag.EXPLICIT_BATCH) if hasattr(flag, "EXPLICIT_BATCH") else 0

    def builder_flag(self, name: str) -> Any:
        """The builder flag ``name``, such as ``INT8``.

        Raises:
            BuildError: this TensorRT has none of that name.
        """
        if not hasattr(self.module.BuilderFlag, name):
            raise BuildError(
                f"{self.name} has no builder flag {name}; leave the option out, or use another TensorRT"
            )
        return getattr(self.module.BuilderFlag, name)

    def data_type(self, name: str) -> Any:
        """The data type ``name``, such as ``HALF``.

        Raises:
            BuildError: this TensorRT has none of that name.
        """
        if not hasattr(self.module.DataType, name):
            raise BuildError(f"{self.name} has no data type {name}; use another TensorRT")
        return getattr(self.module.DataType, name)

    def is_float(self, data_type: Any) -> bool:
        """Whether a tensor of ``data_type`` takes part in calibration."""
        types = self.module.DataType
        return any(
            data_type == getattr(types, name) for name in ("FLOAT", "HALF", "BF16") if hasattr(types, name)
        )

    def set_workspace(self, config: Any, size: int) -> None:
        """Limit the scratch memory of the engine's layers to ``size`` bytes."""
        config.set_memory_pool_limit(self.module.MemoryPoolType.WORKSPACE, size)

    def is_quantizing(self, layer: Any) -> bool:
        """Whether ``layer`` is a Q or DQ layer."""
        types = self.module.LayerType
        return layer.type in (types.QUANTIZE, types.DEQUANTIZE)

    def is_constant(self, layer: Any) -> bool:
        return bool(layer.type == self.module.LayerType.CONSTANT)

    def watch_build(self, config: Any, watcher: Watcher) -> None:
        """Have the build tell ``watcher`` how far it is, and stop when it says so; not in TensorRT 8."""
        if hasattr(self.module, "IProgressMonitor"):
            config.progress_monitor = _monitor_class(self.module)(watcher)

    @staticmethod
    @contextlib.contextmanager
    def deprecated_calls() -> Iterator[None]:
        """Call what TensorRT deprecated without its warnings, which ``-W error`` would raise."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield

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


def load_implicit() -> TensorRT:
    """Import a TensorRT with calibrators and dynamic ranges: 8.6 to 10.

    Raises:
        MissingDependencyError: it is not installed; says in two lines what is missing and the way out.
    """
    try:
        tensorrt = load("tensorrt")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"the implicit route needs TensorRT 8.6 to 10 with its calibrators: {error.__cause__ or error}.\n"
            f"Install it where there is a GPU ({INSTALL_IMPLICIT}), or take the explicit route "
            "(--mode explicit)"
        ) from error
    tensorrt.require_implicit_int8()
    return tensorrt


def _logger_class(trt: ModuleType) -> Any:
    names: dict[Any, Severity] = {
        trt.ILogger.INTERNAL_ERROR: "F",
        trt.ILogger.ERROR: "E",
        trt.ILogger.WARNING: "W",
        trt.ILogger.INFO: "I",
        trt.ILogger.VERBOSE: "V",
    }

    class Recorder(trt.ILogger):  # type: ignore[misc, name-defined]  # a class of the imported module, unknown to mypy
        def __init__(self, log: BuildLog) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the base called by name
            self._log = log

        def log(self, severity: Any, message: str) -> None:
            self._log.add(names.get(severity, "V"), message)

    return Recorder


def _monitor_class(trt: ModuleType) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # a class of the imported module, unknown to mypy
        def __init__(self, watcher: Watcher) -> None:
            trt.IProgressMonitor.__init__(self)
            self._watcher = watcher

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._watcher.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._watcher.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            self._watcher.finish(phase_name)

    return Monitor

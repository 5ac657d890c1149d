"""Access to TensorRT and TensorRT-RTX in all their versions; only this module knows the differences.

Capabilities are looked up with ``hasattr``: version strings compare wrongly as text, and enum values moved
between releases.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from trt_int8.dependencies import require
from trt_int8.engine.log import BuildLog, Severity
from trt_int8.errors import BuildError, MissingDependencyError
from trt_int8.target import CURRENT, DEFAULT_GPU, Flavor, Target, resolve_target

#: Installs a TensorRT with calibrators.
INSTALL_IMPLICIT = "pip install 'tensorrt-cu12>=10,<11' pycuda"


class Watcher(Protocol):
    """Follows the nested stages of a build."""

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a stage of ``steps`` steps, inside ``parent`` or outermost."""

    def step(self, name: str, step: int) -> bool:
        """Count step number ``step`` of a stage, from 0, and return whether to continue."""

    def finish(self, name: str) -> None:
        """End a stage."""


@dataclass(frozen=True)
class TensorRT:
    """An imported module ``tensorrt`` or ``tensorrt_rtx``, and its capabilities."""

    module: ModuleType
    flavor: Flavor

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def name(self) -> str:
        """Name and version, ``TensorRT-RTX 1.7.1.116``."""
        return f"{'TensorRT-RTX' if self.flavor == 'tensorrt_rtx' else 'TensorRT'} {self.version}"

    @property
    def has_implicit_int8(self) -> bool:
        """Whether calibrators and dynamic ranges exist (TensorRT up to 10)."""
        return hasattr(self.module, "IInt8EntropyCalibrator2") and hasattr(self.module.BuilderFlag, "INT8")

    def require_implicit_int8(self) -> None:
        """Raise MissingDependencyError for TensorRT 11 and TensorRT-RTX, which have no calibrators."""
        if not self.has_implicit_int8:
            raise MissingDependencyError(
                f"{self.name} has no INT8 calibrators; TensorRT 10 was the last version with them. "
                f"Use Q/DQ nodes (mode='explicit'), or install TensorRT 10: {INSTALL_IMPLICIT}"
            )

    @property
    def builds_ahead_of_time(self) -> bool:
        """Whether engines can be built for a GPU that is not in this machine (TensorRT-RTX)."""
        return hasattr(self.module, "ComputeCapability") and hasattr(
            self.module.IBuilderConfig, "set_compute_capability"
        )

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs it can build for: ``current``, and with TensorRT-RTX ``sm75`` …"""
        if not self.builds_ahead_of_time:
            return (CURRENT,)
        names = (name.lower() for name in self.module.ComputeCapability.__members__)
        return (CURRENT, *(name for name in names if name.startswith("sm")))

    def runs_on(self, capability: str) -> bool:
        """Return whether its runtime takes a GPU of this compute capability, such as ``sm89``.

        TensorRT-RTX runs on those that it builds for; for ``current`` it builds on others, too.
        """
        return not self.builds_ahead_of_time or capability in self.gpus

    def logger(self, log: BuildLog) -> Any:
        """Return an ``ILogger`` that adds every line to ``log`` and never raises into TensorRT."""
        return _logger_class(self.module)(log)

    @property
    def has_strong_typing(self) -> bool:
        """Whether a network can take the types of all tensors from the model (not in TensorRT 8)."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def explicit_network_flags(self) -> int:
        """Return the creation flags for the explicit route: strongly typed, or weakly in TensorRT 8."""
        if not self.has_strong_typing:
            return self.implicit_network_flags()
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def set_explicit_precisions(self, config: Any, *, int8: bool, float16: bool) -> None:
        """Allow INT8 and FP16 in a weakly typed network.

        A strongly typed network runs in the types of the model, and TensorRT rejects these flags for it. A
        weakly typed one fails on Q/DQ layers without the INT8 flag, and runs float16 layers in FP32 without
        the FP16 flag.
        """
        if self.has_strong_typing:
            return
        if int8:
            config.set_flag(self.builder_flag("INT8"))
        if float16:
            config.set_flag(self.builder_flag("FP16"))

    def implicit_network_flags(self) -> int:
        """Return the creation flags for a network whose precisions the builder chooses (weakly typed)."""
        flag = self.module.NetworkDefinitionCreationFlag
        # TensorRT 8 needs this flag for a batch axis in the shapes; later versions always have the axis.
        return 1 << int(flag.EXPLICIT_BATCH) if hasattr(flag, "EXPLICIT_BATCH") else 0

    def builder_flag(self, name: str) -> Any:
        """Return the builder flag ``name``, such as ``INT8``; raise BuildError if there is none."""
        if not hasattr(self.module.BuilderFlag, name):
            raise BuildError(
                f"{self.name} has no builder flag {name}; leave the option out, or use another TensorRT"
            )
        return getattr(self.module.BuilderFlag, name)

    def data_type(self, name: str) -> Any:
        """Return the data type ``name``, such as ``HALF``; raise BuildError if there is none."""
        if not hasattr(self.module.DataType, name):
            raise BuildError(f"{self.name} has no data type {name}; use another TensorRT")
        return getattr(self.module.DataType, name)

    def is_float(self, data_type: Any) -> bool:
        """Return whether a tensor of ``data_type`` takes part in calibration."""
        types = self.module.DataType
        return any(data_type == getattr(types, name, object()) for name in ("FLOAT", "HALF", "BF16"))

    def set_workspace(self, config: Any, size: int) -> None:
        """Limit the scratch memory of the engine's layers to ``size`` bytes."""
        config.set_memory_pool_limit(self.module.MemoryPoolType.WORKSPACE, size)

    def is_quantizing(self, layer: Any) -> bool:
        """Return whether ``layer`` is a Q or DQ layer."""
        types = self.module.LayerType
        return layer.type in (types.QUANTIZE, types.DEQUANTIZE)

    def is_constant(self, layer: Any) -> bool:
        return bool(layer.type == self.module.LayerType.CONSTANT)

    def watch_build(self, config: Any, watcher: Watcher) -> None:
        """Have TensorRT report its progress to ``watcher``, which can stop it; not in TensorRT 8."""
        if hasattr(self.module, "IProgressMonitor"):
            config.progress_monitor = _monitor_class(self.module)(watcher)

    @staticmethod
    @contextlib.contextmanager
    def deprecated_calls() -> Iterator[None]:
        """Call deprecated functions without DeprecationWarnings, which ``-W error`` would raise."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield

    def target(self, target: str | Target | None = None) -> Target:
        """Return ``target`` for this TensorRT; None: its default.

        Raises:
            BuildError: this TensorRT cannot build for it.
        """
        if target is None:
            return Target(self.flavor, DEFAULT_GPU if DEFAULT_GPU in self.gpus else CURRENT)
        wanted = Target(self.flavor) if target == CURRENT else resolve_target(target)
        if wanted.flavor != self.flavor or wanted.gpu not in self.gpus:
            can = ", ".join(Target(self.flavor, gpu).name for gpu in self.gpus)
            raise BuildError(f"{self.name} does not support target {wanted.name!r}; supported targets: {can}")
        return wanted

    def set_target(self, config: Any, target: Target) -> None:
        """Set the compute capability to build for, one of `gpus`."""
        # Without it, TensorRT-RTX builds for an unstated GPU; CURRENT asks the driver.
        if self.builds_ahead_of_time:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(self.module.ComputeCapability, target.gpu.upper()), 0)

    def set_detailed_layers(self, config: Any) -> None:
        """Write datatypes, tactics and ONNX nodes of every layer to the log and the inspector."""
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED


def load(flavor: Flavor | None = None, *, target: str | Target | None = None) -> TensorRT:
    """Import TensorRT: ``flavor``, or else the one that builds for ``target`` (see `resolve_target`).

    Raises:
        MissingDependencyError: it is not installed.
        BuildError: there is no such target.
    """
    wanted = flavor or resolve_target(target).flavor
    try:
        return TensorRT(require(wanted, purpose="building an engine"), wanted)
    except MissingDependencyError as error:
        if wanted == "tensorrt":
            raise
        raise MissingDependencyError(
            f"{error} (builds without a GPU); or on a machine with a GPU: pip install 'tensorrt-cu12>=10,<11'"
        ) from error


def load_implicit() -> TensorRT:
    """Import a TensorRT with calibrators (8.6 to 10); MissingDependencyError if it is not installed."""
    try:
        tensorrt = load("tensorrt")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"the implicit route needs TensorRT 8.6 to 10 with its calibrators: {error.__cause__ or error}. "
            f"Install it on a machine with a GPU ({INSTALL_IMPLICIT}), or use the explicit route "
            "(mode='explicit')"
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

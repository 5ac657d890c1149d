"""Gather the facts about this machine: packages that are installed, whether they import, and GPUs."""

from __future__ import annotations

import contextlib
import platform
import sys
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from trt_int8.streamer.gpu import Gpu, find_gpus

PYCUDA = "pycuda"
#: Importable module → its purpose.
OPTIONAL = {
    "onnxruntime": "calibration and evaluation on the CPU",
    PYCUDA: "the implicit route",
    "PIL": "images as data",
    "yaml": "configuration files",
}


@dataclass(frozen=True)
class Package:
    """A Python package. ``version``: None if it is not installed; ``problem``: why it does not import."""

    module: str
    version: str | None = None
    problem: str | None = None

    @property
    def usable(self) -> bool:
        return self.version is not None and self.problem is None


@dataclass(frozen=True)
class Builder:
    """TensorRT or TensorRT-RTX.

    Attributes:
        implicit: whether it has calibrators and dynamic ranges.
        targets: GPUs that it builds for; ``current`` is the GPU in this machine.
    """

    flavor: Literal["tensorrt", "tensorrt_rtx"]
    version: str | None = None
    problem: str | None = None
    implicit: bool = False
    targets: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return self.version is not None and self.problem is None


@dataclass(frozen=True)
class Facts:
    """The facts that decide which routes are available.

    Attributes:
        gpus: GPUs that the CUDA driver shows to this process.
        gpu_problem: why there is none.
        gpu_remedy: what to do if the driver is installed but shows no GPU.
        gpu_on_bus: whether an NVIDIA GPU is in the machine, visible or not.
        in_container: whether this process runs in Docker, Podman or the like.
    """

    python: str
    system: str
    packages: tuple[Package, ...]
    providers: tuple[str, ...]
    builders: tuple[Builder, ...]
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None
    gpu_on_bus: bool
    in_container: bool
    gpu_remedy: str | None = None

    def package(self, module: str) -> Package:
        return next((p for p in self.packages if p.module == module), Package(module))

    def builder(self, flavor: str) -> Builder:
        return next(b for b in self.builders if b.flavor == flavor)


def gather() -> Facts:
    """Gather the facts. This imports installed packages; a broken one raises no error."""
    gpus, problem = find_gpus()
    packages = tuple(_package(name) for name in ("trt_int8", "numpy", "onnx", *OPTIONAL))
    runtime, _ = _import("onnxruntime")
    return Facts(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages=packages,
        providers=() if runtime is None else tuple(runtime.get_available_providers()),
        builders=(_builder("tensorrt"), _builder("tensorrt_rtx")),
        gpus=gpus,
        gpu_problem=problem.reason if problem else None,
        gpu_on_bus=_gpu_on_bus(),
        in_container=any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")),
        gpu_remedy=problem.remedy if problem and problem.driver else None,
    )


def _package(module: str) -> Package:
    # pycuda imports on any machine, but its driver module needs libcuda. It is not initialized here.
    imported, problem = _import(f"{PYCUDA}.driver" if module == PYCUDA else module)
    if imported is None and problem is None:
        return Package(module)
    return Package(module, _version(module, imported), problem)


def _version(module: str, imported: Any) -> str:
    """Return the version of the installed distribution."""
    distributions = metadata.packages_distributions().get(module, [])
    if distributions:
        return metadata.version(distributions[0])
    return str(getattr(imported or sys.modules.get(module), "__version__", "unknown"))


def _import(module: str) -> tuple[Any, str | None]:
    """Return (module, None), (None, why it does not import), or (None, None) if it is not installed."""
    try:
        return import_module(module), None
    except ModuleNotFoundError as error:
        itself = (error.name or "").split(".")[0] == module.split(".")[0]
        return None, None if itself else _line(error)
    except Exception as error:  # a broken package may raise anything while it is imported
        return None, _line(error)


def _builder(flavor: Literal["tensorrt", "tensorrt_rtx"]) -> Builder:
    from trt_int8.engine.tensorrt import TensorRT

    module, problem = _import(flavor)
    if module is None:
        return Builder(flavor, None if problem is None else _version(flavor, None), problem)
    handle = TensorRT(module, flavor)
    return Builder(flavor, handle.version, implicit=handle.has_implicit_int8, targets=tuple(handle.gpus))


def _gpu_on_bus(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Return whether a PCI device is NVIDIA's (vendor 10de) and a display or 3D controller (class 03)."""

    for device in devices.glob("*") if devices.is_dir() else ():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            vendor, kind = (device.joinpath(name).read_text("ascii").strip() for name in ("vendor", "class"))
            if vendor == "0x10de" and kind.startswith("0x03"):
                return True
    return False


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

"""Which ways to an INT8 engine are open, and what opens the others."""

from __future__ import annotations

from dataclasses import dataclass

from trt_int8.doctor.facts import PYCUDA, Builder, Facts, Package

#: Requirements as in the extras of this package.
INSTALL = {
    "onnxruntime": "pip install 'onnxruntime>=1.17'",
    "trt10": "pip install 'tensorrt-cu12>=10,<11'",
    "trt11": "pip install 'tensorrt-cu12>=11,<12'",
    "rtx": "pip install 'tensorrt-rtx-cu13>=1.4'",
    "pycuda": "pip install 'pycuda>=2024.1'",
}


@dataclass(frozen=True)
class Step:
    """Something a route lacks, and the command that provides it; None where no command can."""

    lacks: str
    command: str | None


@dataclass(frozen=True)
class Route:
    """A way to work, open if it lacks nothing.

    Attributes:
        name: for programs: ``calibration``, ``implicit``, ``explicit``, ``rtx``.
        title: for people.
        steps: what is missing.
    """

    name: str
    title: str
    steps: tuple[Step, ...]

    @property
    def open(self) -> bool:
        return not self.steps


def find_routes(facts: Facts) -> tuple[Route, ...]:
    """Every route, those that need least first."""
    tensorrt = facts.builder("tensorrt")
    gpu = _gpu(facts)
    return (
        Route(
            "calibration",
            "calibrate, quantize and evaluate on the CPU",
            _package(facts.package("onnxruntime"), INSTALL["onnxruntime"]),
        ),
        Route(
            "rtx",
            "build ahead of time with TensorRT-RTX (explicit Q/DQ, no GPU)",
            _rtx(facts.builder("tensorrt_rtx")),
        ),
        Route(
            "explicit",
            "build with TensorRT (explicit Q/DQ: TensorRT 11, or 10)",
            (*_builder(tensorrt, INSTALL["trt11"]), *gpu),
        ),
        Route(
            "implicit",
            "build with TensorRT up to 10 (calibrators, calibration cache, dynamic ranges)",
            (
                *_implicit(tensorrt),
                *_package(facts.package(PYCUDA), INSTALL["pycuda"]),
                *gpu,
            ),
        ),
    )


def _package(package: Package, command: str) -> tuple[Step, ...]:
    if package.usable:
        return ()
    if package.problem is not None:
        return (Step(f"{package.module} {package.version} does not import: {package.problem}", command),)
    return (Step(f"{package.module} is not installed", command),)


def _builder(builder: Builder, command: str) -> tuple[Step, ...]:
    return _package(Package(builder.flavor, builder.version, builder.problem), command)


def _implicit(tensorrt: Builder) -> tuple[Step, ...]:
    if tensorrt.usable and not tensorrt.implicit:
        return (Step(f"tensorrt {tensorrt.version} has no calibrators any more", INSTALL["trt10"]),)
    return _builder(tensorrt, INSTALL["trt10"])


def _rtx(rtx: Builder) -> tuple[Step, ...]:
    if rtx.usable and len(rtx.targets) < 2:
        return (Step(f"tensorrt_rtx {rtx.version} cannot build for a GPU that is not here", INSTALL["rtx"]),)
    return _builder(rtx, INSTALL["rtx"])


def _gpu(facts: Facts) -> tuple[Step, ...]:
    if facts.gpus:
        return ()
    if facts.gpu_remedy:
        return (Step(f"{facts.gpu_problem}; {facts.gpu_remedy}", None),)
    if facts.in_container:
        return (Step(f"{facts.gpu_problem}; this is a container", "docker run --gpus all IMAGE"),)
    if facts.gpu_on_bus:
        return (Step(f"{facts.gpu_problem}, though there is an NVIDIA GPU", "sudo ubuntu-drivers install"),)
    return (Step(f"{facts.gpu_problem}; use a machine with an NVIDIA GPU", None),)

"""Find the routes to an INT8 engine that are available on this machine, and what the others need."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trt_int8.dependencies import install_command
from trt_int8.doctor.facts import OPTIONAL, PYCUDA, Builder, Facts, Package, gather
from trt_int8.printable import json_text

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
    """A missing requirement of a route, and the command that installs it; None if there is none."""

    lacks: str
    command: str | None


@dataclass(frozen=True)
class Route:
    """A route; it is available (``open``) if no step is missing.

    Attributes:
        name: for programs: ``calibration``, ``implicit``, ``explicit``, ``rtx``.
        title: for people.
        steps: missing requirements.
    """

    name: str
    title: str
    steps: tuple[Step, ...]

    @property
    def open(self) -> bool:
        return not self.steps


def find_routes(facts: Facts) -> tuple[Route, ...]:
    """Return all routes, those with the fewest requirements first."""
    tensorrt, gpu = facts.builder("tensorrt"), _gpu(facts)
    calibration = _package(facts.package("onnxruntime"), INSTALL["onnxruntime"])
    explicit = (*_package(tensorrt, INSTALL["trt11"]), *gpu)
    implicit = (*_implicit(tensorrt), *_package(facts.package(PYCUDA), INSTALL["pycuda"]), *gpu)
    rtx = _rtx(facts.builder("tensorrt_rtx"))
    return (
        Route("calibration", "calibrate, quantize and evaluate on the CPU", calibration),
        Route("rtx", "build ahead of time with TensorRT-RTX (explicit Q/DQ, no GPU)", rtx),
        Route("explicit", "build with TensorRT (explicit Q/DQ: TensorRT 11, or 10)", explicit),
        Route(
            "implicit",
            "build with TensorRT up to 10 (calibrators, calibration cache, dynamic ranges)",
            implicit,
        ),
    )


def _package(package: Package | Builder, command: str) -> tuple[Step, ...]:
    if package.usable:
        return ()
    name = package.module if isinstance(package, Package) else package.flavor
    if package.problem is not None:
        return (Step(f"{name} {package.version} does not import: {package.problem}", command),)
    return (Step(f"{name} is not installed", command),)


def _implicit(tensorrt: Builder) -> tuple[Step, ...]:
    if tensorrt.usable and not tensorrt.implicit:
        return (Step(f"tensorrt {tensorrt.version} no longer has calibrators", INSTALL["trt10"]),)
    return _package(tensorrt, INSTALL["trt10"])


def _rtx(rtx: Builder) -> tuple[Step, ...]:
    if rtx.usable and len(rtx.targets) < 2:
        step = f"tensorrt_rtx {rtx.version} cannot build for a GPU that is not in this machine"
        return (Step(step, INSTALL["rtx"]),)
    return _package(rtx, INSTALL["rtx"])


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


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`."""

    facts: Facts
    routes: tuple[Route, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the content for JSON: ``facts``, and ``routes`` with ``open`` and the missing ``steps``."""
        routes = [{**asdict(route), "open": route.open} for route in self.routes]
        return {"schema": 1, "facts": asdict(self.facts), "routes": routes}

    def to_json(self) -> str:
        return json_text(self.to_dict(), indent=2)

    def to_text(self) -> str:
        """Return one line per fact, then one per route, with the commands for what is missing."""
        f = self.facts
        lines = [f"Python        {f.python} ({f.system})"]
        for package in f.packages:
            purpose, note = OPTIONAL.get(package.module), ""
            if purpose and not package.usable:
                note = f"  (for {purpose}: {install_command(package.module)})"
            if package.module == "onnxruntime" and f.providers:
                note = f"  ({', '.join(f.providers)})"
            lines.append(f"{package.module:<13} {_state(package)}{note}")
        for builder in f.builders:
            what = "calibrators" if builder.implicit else "explicit only"
            targets = f"  ({what}; targets: {', '.join(builder.targets)})" if builder.usable else ""
            lines.append(f"{builder.flavor:<13} {_state(builder)}{targets}")
        for gpu in f.gpus:
            lines.append(f"GPU           {gpu.name}, {gpu.capability}, driver {gpu.driver} (CUDA {gpu.cuda})")
        if not f.gpus:
            lines.append(f"GPU           none: {f.gpu_problem}")
        lines.append("")
        for route in self.routes:
            lines.append(f"[{'open' if route.open else 'closed'}] {route.title}")
            for step in route.steps:
                lines.append(f"    {step.lacks}")
                if step.command is not None:
                    lines.append(f"      → {step.command}")
        return "\n".join(lines) + "\n"


def diagnose() -> Diagnosis:
    """Examine this machine; broken or missing parts raise no error."""
    facts = gather()
    return Diagnosis(facts, find_routes(facts))


def _state(package: Package | Builder) -> str:
    if package.version is None:
        return "not installed"
    return package.version if package.problem is None else f"{package.version}, broken: {package.problem}"

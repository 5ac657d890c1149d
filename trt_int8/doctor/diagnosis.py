"""Find the ways to an INT8 engine that this machine has, and what opens the others."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from trt_int8.dependencies import install_command
from trt_int8.doctor.facts import OPTIONAL, PYCUDA, Builder, Facts, Package, gather

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


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found."""

    facts: Facts
    routes: tuple[Route, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``facts`` as found, and ``routes`` with ``open`` and the ``steps`` that are missing."""
        routes = [{**asdict(route), "open": route.open} for route in self.routes]
        return {"schema": 1, "facts": asdict(self.facts), "routes": routes}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """One line a fact, then one a route, with the commands that open the closed ones."""
        f = self.facts
        lines = [f"Python        {f.python} ({f.system})"]
        for package in f.packages:
            purpose = OPTIONAL.get(package.module)
            note = (
                f"  (for {purpose}: {install_command(package.module)})"
                if purpose and not package.usable
                else ""
            )
            if package.module == "onnxruntime" and f.providers:
                note = f"  ({', '.join(f.providers)})"
            lines.append(f"{package.module:<13} {_state(package)}{note}")
        for builder in f.builders:
            state = _state(Package(builder.flavor, builder.version, builder.problem))
            what = "calibrators" if builder.implicit else "explicit only"
            targets = f"  ({what}; targets: {', '.join(builder.targets)})" if builder.usable else ""
            lines.append(f"{builder.flavor:<13} {state}{targets}")
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
    """Look at this machine; never raises for what is broken or missing."""
    facts = gather()
    return Diagnosis(facts, find_routes(facts))


def _state(package: Package) -> str:
    if package.version is None:
        return "not installed"
    return package.version if package.problem is None else f"{package.version}, broken: {package.problem}"

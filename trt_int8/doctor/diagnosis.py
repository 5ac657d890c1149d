"""Facts and routes together, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from trt_int8.dependencies import install_command
from trt_int8.doctor.facts import OPTIONAL, Facts, Package, gather
from trt_int8.doctor.routes import Route, find_routes


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

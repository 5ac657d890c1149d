"""Which way to INT8: the builder's own choice of layers (implicit), or Q/DQ nodes (explicit)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trt_int8.choices import MODES
from trt_int8.choices import Mode as Mode
from trt_int8.engine.tensorrt import TensorRT, load, load_implicit
from trt_int8.errors import BuildError
from trt_int8.target import CURRENT, Target, resolve_target

#: The algorithms that TensorRT has calibrators for.
ALGORITHMS = ("entropy", "minmax")


@dataclass(frozen=True)
class ChosenRoute:
    """Attributes:
    name: ``implicit`` or ``explicit``.
    reason: why, for people.
    tensorrt: what will build.
    target: for what.
    """

    name: Literal["implicit", "explicit"]
    reason: str
    tensorrt: TensorRT
    target: Target


def choose_route(
    mode: Mode, *, has_qdq: bool, algorithm: str = "entropy", target: str | Target | None = None
) -> ChosenRoute:
    """The route that ``mode`` asks for, or for ``auto`` the one that fits model and machine.

    Args:
        mode: what was asked for.
        has_qdq: whether the model holds Q/DQ nodes.
        algorithm: how ranges are to be found.
        target: what the engine is for; None: what `trt_int8.target.default_target` takes. For ``implicit``,
            None and ``current`` are TensorRT.

    Raises:
        ValueError: an unknown mode.
        BuildError: the implicit route was asked for and model, algorithm or target rule it out.
        MissingDependencyError: the TensorRT that is needed is not installed.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    own = mode == "implicit" and target in (None, CURRENT)  # only TensorRT itself has this route
    wanted = Target("tensorrt") if own else resolve_target(target)
    obstacle = _obstacle(has_qdq, algorithm, wanted)
    if mode == "implicit":
        if obstacle is not None:
            raise BuildError(f"the implicit route is closed: {obstacle}; use mode='explicit'")
        return ChosenRoute("implicit", "asked for", load_implicit(), wanted)
    tensorrt = load(target=wanted)
    if mode == "explicit":
        return ChosenRoute("explicit", "asked for", tensorrt, wanted)
    if obstacle is not None:
        return ChosenRoute("explicit", obstacle, tensorrt, wanted)
    if tensorrt.has_implicit_int8:
        return ChosenRoute("implicit", f"{tensorrt.name} has calibrators of its own", tensorrt, wanted)
    reason = f"{tensorrt.name} has no calibrators, so the ranges come from the CPU and go into Q/DQ nodes"
    return ChosenRoute("explicit", reason, tensorrt, wanted)


def _obstacle(has_qdq: bool, algorithm: str, target: Target) -> str | None:
    if has_qdq:
        return "the model holds Q/DQ nodes"
    if algorithm not in ALGORITHMS:
        return f"TensorRT has no {algorithm} calibrator, only {' and '.join(ALGORITHMS)}"
    if target.flavor == "tensorrt_rtx":
        return f"target {target.name} is built ahead of time, by TensorRT-RTX, which has no calibrators"
    return None

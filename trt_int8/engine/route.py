"""Choose the route to INT8: TensorRT chooses the layers (implicit), or Q/DQ nodes set them (explicit)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trt_int8.choices import MODES
from trt_int8.choices import Mode as Mode
from trt_int8.engine.tensorrt import TensorRT, load, load_implicit
from trt_int8.errors import BuildError
from trt_int8.target import CURRENT, Target, resolve_target

#: The algorithms of TensorRT's calibrators.
ALGORITHMS = ("entropy", "minmax")


@dataclass(frozen=True)
class ChosenRoute:
    """A route, the reason for it, and the TensorRT and the target of the build."""

    name: Literal["implicit", "explicit"]
    reason: str
    tensorrt: TensorRT
    target: Target


def choose_route(
    mode: Mode, *, has_qdq: bool, algorithm: str = "entropy", target: str | Target | None = None
) -> ChosenRoute:
    """Return the route for ``mode``; for ``auto`` the route that fits model and machine.

    A ``target`` of None means `trt_int8.target.default_target`; with ``implicit``, None and ``current`` mean
    TensorRT.

    Raises:
        ValueError: an unknown mode.
        BuildError: the implicit route is not possible with this model, algorithm or target.
        MissingDependencyError: the TensorRT that is needed is not installed.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    own = mode == "implicit" and target in (None, CURRENT)  # only TensorRT itself has this route
    wanted = Target("tensorrt") if own else resolve_target(target)
    obstacle = _obstacle(has_qdq, algorithm, wanted)
    if mode == "implicit":
        if obstacle is not None:
            raise BuildError(f"the implicit route is not available: {obstacle}; use mode='explicit'")
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

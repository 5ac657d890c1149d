"""Decide what an engine is built by, and for which GPU. Placement of Q/DQ pairs follows from it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Literal

from trt_int8.errors import BuildError

Flavor = Literal["tensorrt", "tensorrt_rtx"]
#: Stands for the GPU in this machine.
CURRENT = "current"
#: The GPU that TensorRT-RTX builds for where none is named. It builds ahead of time and has no GPU to ask.
DEFAULT_GPU = "sm89"
#: How a target is written.
FORMS = "rtx, rtx:sm89, tensorrt, current, or sm89 for rtx:sm89"


@dataclass(frozen=True)
class Target:
    """What builds the engine, and for which GPU.

    Attributes:
        flavor: ``tensorrt`` or ``tensorrt_rtx``, the name of its Python module.
        gpu: ``sm89`` and the like, built ahead of time by TensorRT-RTX; ``current``: that in this machine.
        reason: why, where it was not asked for; for people.
    """

    flavor: Flavor
    gpu: str = CURRENT
    reason: str = ""

    @property
    def name(self) -> str:
        """The target as it is written: ``rtx:sm89`` or ``tensorrt``."""
        return "tensorrt" if self.flavor == "tensorrt" else f"rtx:{self.gpu}"

    @property
    def placement(self) -> str:
        """The placement rules that fit it, a name of `trt_int8.quantization.placement.PLACEMENTS`."""
        return "rtx" if self.flavor == "tensorrt_rtx" else "tensorrt"

    @property
    def text(self) -> str:
        """One line for people."""
        why = f" ({self.reason})" if self.reason else ""
        return f"target: {self.name}{why}"


def resolve_target(target: str | Target | None = None) -> Target:
    """The target that a text means; None gives `default_target`.

    Args:
        target: ``rtx:sm89``, ``rtx`` (for `DEFAULT_GPU`), ``rtx:current``, ``tensorrt``, ``current`` (by the
            TensorRT that is installed), or ``sm89``, which is short for ``rtx:sm89``.

    Raises:
        BuildError: the text is none of these.
    """
    if target is None:
        return default_target()
    if isinstance(target, Target):
        return target
    text = str(target).strip().lower()
    if text == "tensorrt":
        return Target("tensorrt")
    if text == "rtx":
        return Target("tensorrt_rtx", DEFAULT_GPU)
    if text == CURRENT:
        return Target("tensorrt" if _tensorrt_is_installed() else "tensorrt_rtx")
    gpu = text.removeprefix("rtx:")
    if re.fullmatch(r"sm\d{2,3}", gpu) or (gpu == CURRENT and text != gpu):
        return Target("tensorrt_rtx", gpu)
    raise BuildError(f"there is no target {target!r}; write {FORMS}")


def default_target() -> Target:
    """What a build takes on this machine: TensorRT where it is installed and there is a GPU, else RTX."""
    if not _tensorrt_is_installed():
        return Target("tensorrt_rtx", DEFAULT_GPU, "default: TensorRT is not installed, and RTX needs no GPU")
    if not _has_gpu():
        return Target("tensorrt_rtx", DEFAULT_GPU, "default: there is no GPU, and RTX builds without one")
    return Target("tensorrt", CURRENT, "default: TensorRT is installed and there is a GPU")


def _tensorrt_is_installed() -> bool:
    return importlib.util.find_spec("tensorrt") is not None


def _has_gpu() -> bool:
    from trt_int8.streamer.gpu import find_gpus

    return bool(find_gpus()[0])

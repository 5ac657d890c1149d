"""Decide which TensorRT builds an engine, and for which GPU. The placement of Q/DQ pairs follows from it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Literal

from trt_int8.errors import BuildError

Flavor = Literal["tensorrt", "tensorrt_rtx"]
#: The GPU in this machine.
CURRENT = "current"
#: The default GPU of TensorRT-RTX, which builds ahead of time, also on machines without a GPU.
DEFAULT_GPU = "sm89"
#: The forms of a target, for messages.
FORMS = "rtx, rtx:sm89, tensorrt, current, or sm89 for rtx:sm89"


@dataclass(frozen=True)
class Target:
    """The TensorRT that builds the engine, and the GPU.

    Attributes:
        flavor: ``tensorrt`` or ``tensorrt_rtx``, the name of its Python module.
        gpu: ``sm89`` and others, for which TensorRT-RTX builds ahead of time; ``current``: the GPU in this
            machine.
        reason: why it is the default; empty for a target that was asked for.
    """

    flavor: Flavor
    gpu: str = CURRENT
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of the target: ``rtx:sm89`` or ``tensorrt``."""
        return "tensorrt" if self.flavor == "tensorrt" else f"rtx:{self.gpu}"

    @property
    def placement(self) -> str:
        """Its placement, a name of `trt_int8.quantization.placement.PLACEMENTS`."""
        return "rtx" if self.flavor == "tensorrt_rtx" else "tensorrt"

    @property
    def text(self) -> str:
        """The target and the reason as one line of text."""
        return f"target: {self.name}" + (f" ({self.reason})" if self.reason else "")


def resolve_target(target: str | Target | None = None) -> Target:
    """Return the target for a text; None gives `default_target`.

    The text is ``rtx:sm89``, ``rtx`` (for `DEFAULT_GPU`), ``rtx:current``, ``tensorrt``, ``current`` (the
    installed TensorRT), or ``sm89``, which is short for ``rtx:sm89``.

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
    """Return TensorRT if it is installed and there is a GPU, else TensorRT-RTX for `DEFAULT_GPU`."""
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

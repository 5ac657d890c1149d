"""Show the progress of TensorRT's builder, and stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trt_int8 import progress
from trt_int8.engine.tensorrt import TensorRT


@contextmanager
def building(
    tensorrt: TensorRT, config: Any, *, stop: Callable[[], bool], log: Path | None = None
) -> Iterator[None]:
    """Show progress during ``build_serialized_network``, and stop TensorRT after ``stop()`` returns True.

    TensorRT calls ``stop`` after each step; version 8 does not. ``log`` is named after an interruption.
    """
    kept = "" if log is None else f" TensorRT's log so far is in {log}."
    with progress.phase("building", total=1, lost=lambda: f"That work is lost.{kept}") as phase:
        tensorrt.watch_build(config, BuildProgress(phase, stop))
        yield
        phase.done, phase.detail = 1, ""


@dataclass
class _Stage:
    name: str
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """Turns the events of TensorRT's progress monitor into one share of the build.

    Stages are nested; a stage counts as one step of its parent. ``phase`` gets the share, and the innermost
    stage as its detail. ``stop`` returns whether to stop the build.
    """

    def __init__(self, phase: progress.Phase, stop: Callable[[], bool] = lambda: False) -> None:
        self._phase = phase
        self._stop = stop
        self._stages: dict[str, _Stage] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._stages[name] = _Stage(name, parent, max(steps, 1))
        self._update()

    def step(self, name: str, step: int) -> bool:
        if name in self._stages:
            self._stages[name].done = step + 1
        self._update()
        return not self._stop()

    def finish(self, name: str) -> None:
        self._stages.pop(name, None)
        self._update()

    def _update(self) -> None:
        share, weight, parent = 0.0, 1.0, None
        # From the outermost open stage to the innermost; of several in one parent the latest counts.
        while inner := [stage for stage in self._stages.values() if stage.parent == parent]:
            stage = inner[-1]
            parent = stage.name
            weight /= stage.steps
            share += weight * min(stage.done, stage.steps)
            self._phase.detail = f"{stage.name} {stage.done}/{stage.steps}"
        self._phase.done = max(self._phase.done, min(share, 1.0))

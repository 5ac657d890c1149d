"""Show how far TensorRT's builder is, and stop it."""

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
    """Around ``build_serialized_network``: shows progress, and has TensorRT give up soon after ``stop()``.

    Args:
        tensorrt: which one; version 8 cannot tell how far it is.
        config: the builder's configuration.
        stop: asked after each step, from TensorRT's callbacks.
        log: where the build's log goes, to be named if it is interrupted.
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
    """Turns what TensorRT's progress monitor is told into one share of the whole.

    Stages are nested; a stage counts for one step of its parent.

    Args:
        phase: gets the share, and the innermost stage as its detail.
        stop: whether to give up.
    """

    def __init__(self, phase: progress.Phase, stop: Callable[[], bool] = lambda: False) -> None:
        self._phase = phase
        self._stop = stop
        self._stages: dict[str, _Stage] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A stage of ``steps`` steps begins."""
        self._stages[name] = _Stage(name, parent, max(steps, 1))
        self._update()

    def step(self, name: str, step: int) -> bool:
        """Step number ``step`` of a stage, from 0, is done. Returns whether to go on."""
        if name in self._stages:
            self._stages[name].done = step + 1
        self._update()
        return not self._stop()

    def finish(self, name: str) -> None:
        """A stage is over."""
        self._stages.pop(name, None)
        self._update()

    def _update(self) -> None:
        share, weight = 0.0, 1.0
        for stage in self._chain():
            weight /= stage.steps
            share += weight * min(stage.done, stage.steps)
            self._phase.detail = f"{stage.name} {stage.done}/{stage.steps}"
        self._phase.done = max(self._phase.done, min(share, 1.0))

    def _chain(self) -> list[_Stage]:
        """The stages that are going on, outermost first; of several in one parent the latest."""
        chain: list[_Stage] = []
        parent = None
        while inner := [stage for stage in self._stages.values() if stage.parent == parent]:
            chain.append(inner[-1])
            parent = inner[-1].name
        return chain

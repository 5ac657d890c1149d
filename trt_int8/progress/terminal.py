"""Progress as bars in a terminal, drawn by rich, and the choice of a display for where messages go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from trt_int8.progress.display import Display, Phase
from trt_int8.progress.lines import Lines


class Bars(Display):
    """A bar for each phase that is going on, gone when it is over.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._console = Console(file=stream)
        self._progress = _Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )

    def begin(self, phase: Phase) -> None:
        self._progress.start()
        self._progress.phases[phase] = self._progress.add_task(str(phase), total=phase.total)

    def end(self, phase: Phase) -> None:
        task = self._progress.phases.pop(phase, None)
        if task is not None:
            self._progress.remove_task(task)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class _Bars(Progress):
    """Reads the phases when it draws, ten times a second in rich's own thread: work is not slowed."""

    phases: dict[Phase, TaskID]

    def get_renderables(self) -> Iterable[RenderableType]:
        for phase, task in list(self.phases.items()):
            self.update(task, description=str(phase), completed=phase.done)
        return super().get_renderables()

    def __init__(self, *columns: object, **options: object) -> None:
        self.phases = {}
        super().__init__(*columns, **options)  # type: ignore[arg-type]  # passed on as they came


def choose(stream: TextIO, *, quiet: bool = False) -> Display:
    """Bars on a terminal, plain lines elsewhere, nothing if ``quiet``."""
    if quiet:
        return Display()
    if stream.isatty():
        return Bars(stream)
    return Lines(stream)

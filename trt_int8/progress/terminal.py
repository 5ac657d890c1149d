"""Show progress as bars in a terminal, and choose the display for a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TextIO

from rich import progress
from rich.console import Console, RenderableType
from rich.text import Text

from trt_int8.progress.display import Display, Phase
from trt_int8.progress.lines import Lines


class Bars(Display):
    """Shows a bar for each open phase on the terminal ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._console = Console(file=stream)
        self._tasks: dict[Phase, progress.TaskID] = {}
        self._progress = _PolledProgress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.phases = self._tasks

    def begin(self, phase: Phase) -> None:
        self._progress.start()
        self._tasks[phase] = self._progress.add_task(str(phase), total=phase.total)

    def end(self, phase: Phase) -> None:
        task = self._tasks.pop(phase, None)
        if task is not None:
            self._progress.remove_task(task)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def write(self, stream: TextIO, text: str) -> None:
        """Write above the bars, if ``stream`` is a terminal."""
        if not stream.isatty():
            stream.write(text)
            return
        end = "\n" if text.endswith("\n") else ""
        self._console.print(Text.from_ansi(text.removesuffix(end)), end=end, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class _PolledProgress(progress.Progress):
    """Reads the phases when it draws, ten times a second in rich's own thread, so work is not slowed."""

    phases: Mapping[Phase, progress.TaskID] = MappingProxyType({})

    def get_renderables(self) -> Iterable[RenderableType]:
        for phase, task in list(self.phases.items()):
            self.update(task, description=str(phase), completed=phase.done)
        return super().get_renderables()


def choose(stream: TextIO, *, quiet: bool = False) -> Display:
    """Return bars for a terminal, plain lines for another stream, a silent display if ``quiet``."""
    if quiet:
        return Display()
    return Bars(stream) if stream.isatty() else Lines(stream)

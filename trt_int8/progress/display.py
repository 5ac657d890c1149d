"""Phases of work, the current display, and the functions that report to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO, TypeVar

from trt_int8.printable import printable


@dataclass(eq=False)
class Phase:
    """A phase of work and its progress. The working thread changes it; the display's thread reads it.

    Attributes:
        name: such as ``calibrating``.
        total: number of units, or None if not known.
        unit: such as ``batches``; empty: a share of the whole, shown in percent.
        lost: says what is lost and what is kept; called after an interruption.
        done: units done so far.
        detail: the current step.
        started: `time.monotonic` at the beginning.
    """

    name: str
    total: float | None = None
    unit: str = ""
    lost: Callable[[], str] | None = None
    done: float = 0
    detail: str = ""
    started: float = field(default_factory=time.monotonic)

    def advance(self, units: float = 1) -> None:
        self.done += units

    def __str__(self) -> str:
        """``calibrating: 12 of 100 batches (12 %)``, printable."""
        share = f"{self.done / self.total:.0%}".replace("%", " %") if self.total else ""
        if self.unit and self.total:
            state = f"{self.done:g} of {self.total:g} {self.unit} ({share})"
        elif self.unit:
            state = f"{self.done:g} {self.unit}"
        else:
            state = share
        parts = [part for part in (state, self.detail) if part]
        return printable(f"{self.name}: {', '.join(parts)}" if parts else self.name)


T = TypeVar("T")


class Display:
    """A display that is silent, and the base of the others. A display never writes to stdout.

    Attributes:
        phases: the open phases, the innermost last.
        failed: the innermost phase of the last exception.
        finished: the last phase that succeeded.
    """

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.failed: Phase | None = None
        self.finished: Phase | None = None

    @property
    def interrupted(self) -> Phase | None:
        """The phase that an exception interrupted, in any thread."""
        return self.failed or next(reversed(self.phases), None)

    def begin(self, phase: Phase) -> None:
        """Show that ``phase`` starts."""

    def end(self, phase: Phase) -> None:
        """Show that ``phase`` has ended or failed."""

    def note(self, text: str) -> None:
        """Show ``text`` once."""

    def write(self, stream: TextIO, text: str) -> None:
        """Write ``text`` of another part of the program to ``stream``, which may be the same terminal."""
        stream.write(text)

    def close(self) -> None:
        """End the display."""


_current = Display()


@contextmanager
def show(display: Display) -> Iterator[Display]:
    """Show progress on ``display`` until the block ends."""
    global _current
    before, _current = _current, display
    try:
        yield display
    finally:
        _current = before
        display.close()


def note(text: str) -> None:
    """Show a line of information (``20 images, resized to …``)."""
    _current.note(printable(text))


def write(stream: TextIO, text: str) -> None:
    """Write ``text`` to ``stream`` without disturbing the display."""
    _current.write(stream, text)


@contextmanager
def phase(
    name: str, *, total: float | None = None, unit: str = "", lost: Callable[[], str] | None = None
) -> Iterator[Phase]:
    """Report the block as a phase of work; see `Phase` for the arguments."""
    display, current = _current, Phase(name, total, unit, lost)
    display.failed = None
    display.phases.append(current)
    display.begin(current)
    try:
        yield current
        display.finished = current
    except BaseException:
        display.failed = display.failed or current
        raise
    finally:
        display.phases.remove(current)
        display.end(current)


def track(
    items: Iterable[T],
    name: str,
    *,
    total: float | None = None,
    unit: str = "batches",
    lost: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Yield ``items`` and count them as a phase; see `Phase` for the arguments."""
    with phase(name, total=total, unit=unit, lost=lost) as current:
        for item in items:
            yield item
            current.advance()

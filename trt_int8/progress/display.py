"""Phases of work, the display that is on, and the calls that report to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar


@dataclass(eq=False)
class Phase:
    """What is going on, and how far it is. Changed by the one who works, read by the display's thread.

    Attributes:
        name: ``calibrating``.
        total: number of units, or None if nobody knows.
        unit: ``batches``; empty: a share of the whole, shown in percent.
        lost: says what is lost and what is kept if this phase is interrupted; asked when that happens.
        done: units done so far.
        detail: what exactly is being done now.
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
        """``calibrating: 12 of 100 batches (12 %)``."""
        share = f"{self.done / self.total:.0%}".replace("%", " %") if self.total else ""
        if self.unit and self.total:
            state = f"{self.done:g} of {self.total:g} {self.unit} ({share})"
        elif self.unit:
            state = f"{self.done:g} {self.unit}"
        else:
            state = share
        parts = [part for part in (state, self.detail) if part]
        return f"{self.name}: {', '.join(parts)}" if parts else self.name


T = TypeVar("T")


class Display:
    """Shows nothing; base of those that do. Nothing may ever go to stdout.

    Attributes:
        phases: what is going on, the innermost last.
        failed: the innermost phase that ended in an exception, the last time one did.
        finished: the last phase that ended well.
    """

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.failed: Phase | None = None
        self.finished: Phase | None = None

    @property
    def interrupted(self) -> Phase | None:
        """What was going on when an exception came, in whichever thread it went on."""
        return self.failed or next(reversed(self.phases), None)

    def begin(self, phase: Phase) -> None:
        """``phase`` starts."""

    def end(self, phase: Phase) -> None:
        """``phase`` is over, one way or the other."""

    def note(self, text: str) -> None:
        """Say ``text`` once."""

    def close(self) -> None:
        """Nothing more will come."""


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
    """Tell the person who waits something worth knowing (``20 images, resized to …``)."""
    _current.note(text)


@contextmanager
def phase(
    name: str, *, total: float | None = None, unit: str = "", lost: Callable[[], str] | None = None
) -> Iterator[Phase]:
    """A stretch of work; see `Phase` for the arguments."""
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
    """Pass ``items`` on and count them; see `Phase` for the arguments."""
    with phase(name, total=total, unit=unit, lost=lost) as current:
        for item in items:
            yield item
            current.advance()

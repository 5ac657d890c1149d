"""One stretch of work that takes a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


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

"""Numbers on the command line that a gate is set to."""

from __future__ import annotations

import math
from typing import Any

import click


class Bound(click.FloatRange):
    """A finite number within bounds: NaN and infinity would switch a gate off without a word."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} would let everything pass or nothing; give a finite number", param, ctx)
        return number

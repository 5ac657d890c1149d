"""Which display fits where the messages go."""

from __future__ import annotations

from typing import TextIO

from trt_int8.progress.display import Display
from trt_int8.progress.lines import Lines


def choose(stream: TextIO, *, quiet: bool = False) -> Display:
    """Bars on a terminal, plain lines elsewhere, nothing if ``quiet``."""
    if quiet:
        return Display()
    if stream.isatty():
        from trt_int8.progress.bars import Bars

        return Bars(stream)
    return Lines(stream)

"""Ctrl-C during a build: remembered, because TensorRT swallows exceptions raised in its callbacks."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """Holds Ctrl-C back while TensorRT runs.

    Python delivers a signal at the first bytecode of the next callback, before any ``try`` in it, so a
    KeyboardInterrupt raised there reaches TensorRT's bindings, which print it and carry on. Inside `held`
    it is remembered as ``pending`` instead; inside `delivered` (a callback's own ``try``) it is raised.
    """

    def __init__(self) -> None:
        self.pending = False
        self._deliver = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Remember Ctrl-C until the block ends. Without effect outside the main thread, as Ctrl-C is."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:
            yield  # the program handles SIGINT in its own way
            return
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def delivered(self) -> Iterator[None]:
        """Raise KeyboardInterrupt where Ctrl-C arrives in this block, or arrived before it."""
        self._deliver = True
        try:
            if self.pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._deliver = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.pending = True
        if self._deliver:
            raise KeyboardInterrupt

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
    it is remembered as ``pending`` instead, and raised where that is safe: in the user's loader at once,
    in a callback at its beginning, anywhere in a callback when Ctrl-C is pressed again.
    """

    def __init__(self) -> None:
        self.pending = False
        self._loading = self._in_callback = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Remember Ctrl-C until the block ends. Without effect outside the main thread, as Ctrl-C is."""
        before = signal.getsignal(signal.SIGINT)
        # A program with its own handler wants it to be called.
        if not _in_main_thread() or before is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def callback(self) -> Iterator[None]:
        """Around a callback, inside its ``try``."""
        self._in_callback = True
        try:
            self._raise_if_pending()
            yield
        finally:
            self._in_callback = False

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Around the user's loader, in whichever thread it runs; only the main one is interrupted at once."""
        self._raise_if_pending()
        self._loading = _in_main_thread()
        try:
            yield
        finally:
            self._loading = False

    def _raise_if_pending(self) -> None:
        if self.pending:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        again, self.pending = self.pending, True
        if self._loading or (again and self._in_callback):
            raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()

"""Remember Ctrl-C during a build, because TensorRT swallows exceptions raised in its callbacks."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """Delays Ctrl-C while TensorRT runs.

    Python delivers a signal at the first bytecode of the next callback, before any ``try`` in it. A
    KeyboardInterrupt raised there reaches TensorRT's bindings, which print it and continue. Inside `held`,
    Ctrl-C only sets ``pending``. KeyboardInterrupt is then raised where that is safe: in the user's loader at
    once, in a callback at its beginning, and anywhere in a callback if Ctrl-C is pressed again.
    """

    def __init__(self) -> None:
        self.pending = False
        self._loading = self._in_callback = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Remember Ctrl-C until the block ends. No effect outside the main thread, which gets no signals."""
        before = signal.getsignal(signal.SIGINT)
        # A program's own handler stays in place.
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
        """Mark the block as a callback; use it inside the callback's ``try``."""
        self._in_callback = True
        try:
            self._raise_if_pending()
            yield
        finally:
            self._in_callback = False

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Mark the block as the user's loader, in any thread; only the main one is interrupted at once."""
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

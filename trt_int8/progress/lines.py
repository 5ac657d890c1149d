"""Show progress as plain lines, for log files and CI."""

from __future__ import annotations

import threading
import time
from typing import TextIO

from trt_int8.progress.display import Display, Phase


class Lines(Display):
    """Writes a line about the innermost phase to ``stream`` every few seconds; none about short phases.

    The lines come from a thread, so they do not slow the work and also appear if it hangs. ``every`` is the
    time between lines in seconds.
    """

    def __init__(self, stream: TextIO, *, every: float = 5.0) -> None:
        super().__init__()
        self._stream = stream
        self._every = every
        self._told: set[Phase] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, phase: Phase) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()

    def end(self, phase: Phase) -> None:
        with self._lock:
            if phase in self._told:
                self._write(phase)

    def note(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def tick(self) -> None:
        """Write a line about the innermost phase, if there is one."""
        with self._lock:
            for phase in self.phases[-1:]:
                self._told.add(phase)
                self._write(phase)

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _write(self, phase: Phase) -> None:
        self._stream.write(f"{phase}, {time.monotonic() - phase.started:.0f} s\n")
        self._stream.flush()

    def _run(self) -> None:
        while not self._closed.wait(self._every):
            self.tick()

"""Record what TensorRT says, line by line, to a file and for error messages."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from trt_int8.errors import OutputError

#: Fatal, error, warning, info, verbose: the letters TensorRT's own tools print.
Severity = Literal["F", "E", "W", "I", "V"]


class BuildLog:
    """TensorRT's log of one build, streamed to a file, or kept in memory without one.

    TensorRT calls `add` from several threads and must never see an exception from it: a failing disk is
    remembered and raised by `close`. A context manager; lines after `close` are dropped.

    Attributes:
        path: the file, or None.
        errors: messages of severity error and worse, in order.
        warnings: messages of severity warning, in order.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._lines: list[str] = []
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        if self.path is not None:
            try:
                self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise OutputError(f"cannot write the log {self.path}: {error.strerror or error}") from error

    def add(self, severity: Severity, message: str) -> None:
        """Record one message, of one or more lines. Never raises."""
        line = f"[{severity}] {message}"
        with self._lock:
            if self.path is None:
                self._lines.append(line)
            if severity in ("E", "F"):
                self.errors.append(message)
            elif severity == "W":
                self.warnings.append(message)
            if self._file is not None and self._failure is None:
                try:
                    self._file.write(line + "\n")
                    self._file.flush()
                except OSError as error:
                    self._failure = error

    @property
    def lines(self) -> list[str]:
        """Everything recorded so far, a list item a line."""
        with self._lock:
            if self.path is None:
                return "\n".join(self._lines).split("\n")
            return self.path.read_text(encoding="utf-8").split("\n")

    def close(self) -> None:
        """Close the file.

        Raises:
            OutputError: the file could not be written to the end.
        """
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                try:
                    file.close()
                except OSError as error:
                    self._failure = self._failure or error
            failure, self._failure = self._failure, None
        if failure is not None:
            raise OutputError(
                f"cannot write the log {self.path}: {failure.strerror or failure}; it is incomplete"
            ) from failure

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OutputError:
            if error is None:  # a build that failed has a more useful error
                raise

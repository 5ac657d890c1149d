"""Record TensorRT's log, line by line, in a file and for error messages."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from trt_int8.errors import BuildError, OutputError

#: Fatal, error, warning, info, verbose: the letters TensorRT's own tools print.
Severity = Literal["F", "E", "W", "I", "V"]


def default_log(engine: Path) -> Path:
    """Return the default file of a build's log: next to the engine, with its name."""
    known = engine.suffix in (".engine", ".plan", ".trt")
    return engine.with_suffix(".log") if known else engine.with_name(f"{engine.name}.log")


def require_regular(path: Path) -> None:
    """Raise OutputError for a device or a pipe: the log is read after the build, and renamed."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputError(
            f"cannot write the log {path}: it must be a regular file, because it is read after the build"
        )


def append_line(path: Path, severity: Severity, message: str) -> None:
    """Add a message to the log of a finished build; OutputError if it cannot be written."""
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"[{severity}] {message}\n")
    except OSError as error:
        raise OutputError(f"cannot write the log {path}: {error.strerror or error}") from error


class BuildLog:
    """TensorRT's log of one build, written to a file, or kept in memory without a file.

    A context manager. During the build the lines are in ``NAME.partial``, after success in ``NAME``, after a
    failure in ``NAME.failed``. So ``NAME`` always belongs to the engine next to it, and the log of a failed
    build is kept.

    TensorRT calls `add` from several threads, and an exception must not reach it. So an error of the disk is
    raised at the end.

    Attributes:
        path: the file after success, or None.
        errors: messages of severity error and fatal, in order.
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
            require_regular(self.path)
            self._current = self._beside("partial")
            try:
                self._file = self._current.open("w", encoding="utf-8", errors="backslashreplace")
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
        """All lines so far."""
        with self._lock:
            if self.path is None:
                return "\n".join(self._lines).split("\n")
            return self._current.read_text(encoding="utf-8").split("\n")

    @property
    def path_if_failed(self) -> Path | None:
        """The file after a failure, or None."""
        return None if self.path is None else self._beside("failed")

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(succeeded=error is None)
        if isinstance(error, BuildError):
            error.log = None if self.path is None else self._current
        if self._failure is not None and error is None:  # a build that failed has a more useful error
            raise OutputError(
                f"cannot write the log {self.path}: {self._failure.strerror or self._failure}; the "
                f"incomplete log is in {self._current}"
            ) from self._failure

    def _close(self, *, succeeded: bool) -> None:
        with self._lock:
            file, self._file = self._file, None
            if file is None or self.path is None:
                return
            try:
                file.close()
            except OSError as error:
                self._failure = self._failure or error
            keep = self.path if succeeded and self._failure is None else self._beside("failed")
            try:
                self._current = self._current.replace(keep)
            except OSError as error:
                self._failure = self._failure or error

    def _beside(self, suffix: str) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.{suffix}")

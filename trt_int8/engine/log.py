"""Record what TensorRT says, line by line, to a file and for error messages."""

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
    """Where the log of a build goes that names no file for it: beside the engine, under its name."""
    known = engine.suffix in (".engine", ".plan", ".trt")
    return engine.with_suffix(".log") if known else engine.with_name(f"{engine.name}.log")


def require_regular(path: Path) -> None:
    """Refuse a device or a pipe as a log: the log is read again, and put in place by renaming.

    Raises:
        OutputError: there is one at ``path``.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputError(
            f"cannot write the log {path}: it is a device or a pipe, and the log is read again; give a file"
        )


def append_line(path: Path, severity: Severity, message: str) -> None:
    """Add a message to the log of a build that is over.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"[{severity}] {message}\n")
    except OSError as error:
        raise OutputError(f"cannot write the log {path}: {error.strerror or error}") from error


class BuildLog:
    """TensorRT's log of one build, streamed to a file, or kept in memory without one.

    A context manager. While the build runs the lines go to ``NAME.partial``; a build that succeeds
    leaves them in ``NAME``, one that fails in ``NAME.failed``. So the log beside an engine is always that
    engine's, and the log of a failure is never lost.

    TensorRT calls `add` from several threads and must never see an exception from it: a failing disk is
    remembered and raised at the end.

    Attributes:
        path: the file after success, or None.
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
        """Everything recorded so far, a list item a line."""
        with self._lock:
            if self.path is None:
                return "\n".join(self._lines).split("\n")
            return self._current.read_text(encoding="utf-8").split("\n")

    @property
    def path_if_failed(self) -> Path | None:
        """The file after a failure."""
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
                f"cannot write the log {self.path}: {self._failure.strerror or self._failure}; what there "
                f"is of it is in {self._current}"
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
                os.replace(self._current, keep)
                self._current = keep
            except OSError as error:
                self._failure = self._failure or error

    def _beside(self, suffix: str) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.{suffix}")

"""Record TensorRT's log, line by line, in a file and for error messages."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from trt_int8.errors import BuildError, OutputError
from trt_int8.files import atomic
from trt_int8.files.places import is_special, is_stream

#: Fatal, error, warning, info, verbose: the letters TensorRT's own tools print.
Severity = Literal["F", "E", "W", "I", "V"]
#: The begin of a line within a message that looks like a message of its own.
_MESSAGE = re.compile(r"(?<=[\n\r])(?=\[[FEWIV]\])")


def default_log(engine: Path) -> Path:
    """Return the default file of a build's log: next to the engine, with its whole name and ``.log``.

    Raises:
        OutputError: the engine goes to a pipe or a device, which has nothing next to it.
    """
    if is_stream(engine):
        raise OutputError(
            f"the engine is written to {engine}, and its log needs a file: give the log's name (log=)"
        )
    return engine.with_name(f"{engine.name}.log")


def failed_log(log: Path) -> Path:
    """Return the file of the log of a failed build."""
    return log.with_name(f"{log.name}.failed")


def require_regular(path: Path) -> None:
    """Raise OutputError for a device or a pipe: the log is read after the build, and renamed."""
    if is_special(path):
        raise OutputError(
            f"cannot write the log {path}: it must be a regular file, because it is read after the build"
        )


def append_line(path: Path, severity: Severity, message: str) -> None:
    """Add a message to the log of a finished build.

    Raises:
        OutputError: it cannot be written; the log is unchanged.
    """
    line = _line(severity, message).encode("utf-8", errors="backslashreplace")
    try:
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                file.truncate(size)
                raise
    except OSError as error:
        raise OutputError(f"cannot write the log {path}: {error.strerror or error}") from error


def _line(severity: Severity, message: str) -> str:
    """Return the line of a message. The lines after its first are indented if they look like a message.

    So a name with a newline, which TensorRT prints as it is, cannot add a message of its own.
    """
    return f"[{severity}] {_MESSAGE.sub(' ', message)}\n"


class BuildLog:
    """TensorRT's log of one build, written to a file, or kept in memory without a file.

    A context manager. During the build the lines are in the temporary file ``current``, after success in
    ``path``, after a failure in ``<path>.failed``. So ``path`` always belongs to the engine next to it, and
    the log of a failed build is kept.

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
        self._ended = False
        self._lock = threading.Lock()
        self._staged: atomic.Staged | None = None
        self._text: TextIO | None = None
        if self.path is not None:
            require_regular(self.path)
            self._staged = atomic.Staged(self.path, follow=False)
            self._text = io.TextIOWrapper(self._staged.file, encoding="utf-8", errors="backslashreplace")

    def add(self, severity: Severity, message: str) -> None:
        """Record one message, of one or more lines. Never raises."""
        line = _line(severity, message)
        with self._lock:
            if self.path is None:
                self._lines.append(line[:-1])
            if severity in ("E", "F"):
                self.errors.append(message)
            elif severity == "W":
                self.warnings.append(message)
            if self._text is not None and self._failure is None and not self._ended:
                try:
                    self._text.write(line)
                    self._text.flush()
                except OSError as error:
                    self._failure = error

    def publish(self, engine: Path, data: bytes | bytearray | memoryview, *others: atomic.Staged) -> None:
        """Put the engine in place, and with it this log and ``others``, after the build succeeded.

        Raises:
            OutputError: one of them cannot be written; neither is in place.
        """
        if self._staged is None or is_stream(engine):
            atomic.write_bytes(engine, data)
            for staged in others:
                atomic.commit(staged)
            return
        with self._lock, atomic.Staged(engine) as staged:
            self._require_whole()
            staged.write(data)
            atomic.commit(staged, self._staged, *others)

    @property
    def current(self) -> Path | None:
        """The file that has the lines now, or None."""
        if self._staged is None:
            return None
        return self._staged.target if self._staged.committed else self._staged.path

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        with self._lock:
            if self.current is None:
                return "\n".join(self._lines).split("\n")
            return self.current.read_text(encoding="utf-8").split("\n")

    @property
    def path_if_failed(self) -> Path | None:
        """The file after a failure, or None."""
        return None if self.path is None else failed_log(self.path)

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        staged, failed = self._staged, self.path_if_failed
        if staged is None or failed is None:
            return
        with self._lock, staged:
            self._ended = True
            try:
                if error is None and not staged.committed:
                    self._require_whole()
                    atomic.commit(staged)
            finally:
                if not staged.committed:
                    with contextlib.suppress(OSError):  # the build's own error is more useful
                        staged.keep_as(failed)
                if isinstance(error, BuildError) and staged.committed:
                    error.log = staged.target

    def _require_whole(self) -> None:
        if self._failure is not None:
            raise OutputError(
                f"cannot write the log {self.path}: {self._failure.strerror or self._failure}; the "
                f"incomplete log is in {self.path_if_failed}"
            ) from self._failure

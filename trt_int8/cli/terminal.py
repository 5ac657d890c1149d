"""The one way of all text to the terminal: through streams that print names harmlessly and never fail.

While a command runs, `guarded` puts such streams in place of ``sys.stdout`` and ``sys.stderr``. Text of any
origin (commands, click, ``logging``, warnings, tracebacks) passes `printable`. If the reader went away or the
disk is full, the work goes on and the text is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO, cast

import click

from trt_int8 import progress
from trt_int8.printable import printable


class Styled(str):
    """A text with terminal colours. Its author made the names in it printable."""

    def __add__(self, other: str) -> Styled:
        return Styled(str.__add__(self, other))


class Unfailing(io.TextIOBase):
    """A stream whose writes cannot fail. It keeps the first failure, and drops the text after it.

    Attributes:
        failure: what happened; None if nothing did.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the encoding of the terminal

    def write(self, text: str) -> int:
        """Write and flush ``text``."""
        if self._stream is not None and self.failure is None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                self.failure = error
                with contextlib.suppress(OSError):  # a stream of a test has no descriptor
                    # What is still buffered must not fail again when Python ends.
                    null = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(null, self._stream.fileno())
                    os.close(null)
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True


class Harmless(io.TextIOBase):
    r"""A stream on which `printable` text arrives, apart from line ends, tabs and `Styled` text.

    Attributes:
        plain: the stream below, for a progress display, which draws with control sequences.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, plain: Unfailing) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        """Write ``text``, above the progress if that is shown."""
        if not isinstance(text, Styled):  # lines of CSV end with "\r\n"
            text = "\r\n".join(printable(part, keep="\n\t") for part in text.split("\r\n"))
        progress.write(cast("TextIO", self.plain), text)
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self.plain.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.plain.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Send all text through `Harmless` streams until the block ends.

    A block that exits with code 0 exits with 1 if text for stdout was lost, unless its reader went away.
    """
    _open_closed()
    before = sys.stdout, sys.stderr, warnings.showwarning
    stdout, stderr = Unfailing(sys.stdout), Unfailing(sys.stderr)
    sys.stdout, sys.stderr = cast("TextIO", Harmless(stdout)), cast("TextIO", Harmless(stderr))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    handler.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    warnings.showwarning = _show_warning
    try:
        yield
    except SystemExit as ended:
        lost = stdout.failure
        if lost is None or lost.errno == errno.EPIPE or ended.code:
            raise
        stderr.write(f"Error: stdout cannot be written: {lost.strerror}\n")
        raise SystemExit(1) from ended
    finally:
        root.removeHandler(handler)
        sys.stdout, sys.stderr, warnings.showwarning = before


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever the names in it."""
    click.echo(printable(line), err=err)


def keep_stdout_for_results(*paths: str | os.PathLike[str]) -> None:
    """Send text for stdout to stderr if one of the results that ``paths`` name goes to stdout itself."""
    if any(map(is_stdout, paths)) and isinstance(sys.stdout, Harmless) and isinstance(sys.stderr, Harmless):
        sys.stdout.plain = sys.stderr.plain


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is stdout by any name: /dev/stdout, /dev/fd/1, the file it is redirected to."""
    try:
        there, here = os.stat(path), os.fstat(1)
        nowhere = os.path.samestat(there, os.stat(os.devnull))
    except OSError:
        return False
    return os.path.samestat(there, here) and not nowhere


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Show a warning, but none of numpy's about infinity and NaN: results say what these mean."""
    if not issubclass(category, RuntimeWarning):
        logging.getLogger().warning("%s", message)


class _OneLine(logging.Formatter):
    """Makes one line of a record: ``warning: …``."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {printable(record.getMessage())}"


def _open_closed() -> None:
    """Take the descriptors 0 to 2 if they are closed, so that no file gets one; writing to them fails."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)

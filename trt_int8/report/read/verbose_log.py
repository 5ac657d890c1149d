"""A TensorRT verbose log, read once from start to end → the raw facts of each build.

`messages` holds the readers of messages. The parser is fast because it looks at few bytes: it tries the
prefix of the previous line first, then the first six bytes of the message choose a reader. Lines of single
tactics are collected until their runner is done, and only parsed if no ``Fastest Tactic`` line sums them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trt_int8.report.read.lines import LOCATION, PREFIX, level, text
from trt_int8.report.read.messages import Reader, ignore, readers
from trt_int8.report.read.observed import Observed, Reading
from trt_int8.report.records import Evidence

#: Text before and after the name of a layer whose constraint could not be met.
_CONSTRAINED = (
    (b"o implementation of layer ", b" obeys the requested constraints"),
    (b"o implementation of ", b" obeys the requested constraints"),
    (b"For layer ", b" a non-conforming implementation was chosen"),
    (b"Could not find any implementation for node ", b""),
)
#: Stands for "no prefix known": no line begins with it.
_NONE = b"\0no prefix"
#: After " (foreignNode)", a row of one of Myelin's tables goes on with one of these; a sentence does not.
_ROW = frozenset(b"%c" % digit for digit in b" 0123456789")


def observe(chunks: Iterable[list[bytes]]) -> Iterator[Observed]:
    """Yield the builds of a log, given as lists of lines without newlines."""
    reading = Reading()
    handlers, named = readers(reading)
    find = {**handlers, b"[TRT] ": _longer_prefix}.get
    tactic, foreign, silent, longer = find(b"Tactic"), find(b" (fore"), ignore, _longer_prefix
    add_tactic, add_row = reading.tuning.pending.append, reading.tuning.table.append
    prefix, start, key, loud = _NONE, 0, slice(0, 6), False
    number = 0
    for lines in chunks:
        for number, line in enumerate(lines, number + 1):  # noqa: B020 - counts on
            if not line.startswith(prefix):
                prefix, start, reading.severity = _prefix(line)
                key, loud = slice(start, start + 6), reading.severity in ("W", "E")
                if start:
                    reading.build.prefixed = True
            handler = find(line[key])
            if handler is longer or (handler is None and not loud and LOCATION.match(line, start)):
                # "[V] " (trtexec's own lines) is the beginning of "[V] [TRT] " (TensorRT's lines), and that
                # is the beginning of "[V] [TRT] ModelImporter.cpp:103: ".
                prefix, start, reading.severity = _prefix(line)
                key, loud = slice(start, start + 6), reading.severity in ("W", "E")
                handler = find(line[key])
            if handler is None:
                if b" Set Tactic Name: " not in line:
                    _other(line[start:], number, reading, named)
            elif handler is tactic:
                add_tactic(line)
            elif handler is silent:
                if loud:
                    _other(line[start:], number, reading, named)
            elif handler is foreign and line[start + 15 : start + 16] in _ROW:
                add_row(line)
            else:
                message = line[start:]
                if handler(message, number) is False:
                    _other(message, number, reading, named)
                if reading.ready:
                    yield from reading.take()
        reading.tuning.shorten()
    if number:
        reading.close(number)
    yield from reading.take()


def _longer_prefix(message: bytes, number: int) -> bool:
    """Stand for a message that still begins with a part of the prefix."""
    return False


def _other(message: bytes, number: int, reading: Reading, named: Sequence[Reader]) -> None:
    """Read a message with an unknown beginning: a warning, or one that begins with a name."""
    if reading.severity in ("W", "E") or message.startswith(b"Could not find any implementation"):
        _warning(message, number, reading)
        return
    for read in named:
        if read(message, number):
            return
    reading.build.unrecognized += bool(message.strip())


def _warning(message: bytes, number: int, reading: Reading) -> None:
    said = text(message.rstrip())
    if not said or said in reading.build.warnings:
        return
    reading.build.warn(said, number, error=reading.severity != "W")
    for before, after in _CONSTRAINED:
        _, found, rest = message.partition(before)
        layer, closing, _ = rest.partition(after) if after else (rest.rstrip(b".)"), b".", b"")
        if found and closing:
            reading.build.constrained.setdefault(text(layer), Evidence(number, said))
            return
    if b"Skipping tactic" in message:
        reading.tuning.skipped(message, number)


def _prefix(line: bytes) -> tuple[bytes, int, str]:
    """Return the prefix to try on the next lines, where the message begins, and its level."""
    found = PREFIX.match(line)
    if found is None:
        return _NONE, 0, ""  # a line without a prefix has no level, and the next one may have a prefix again
    prefix, said = found.group(), level(found)
    place = LOCATION.match(line, len(prefix)) if said not in ("W", "E") else None
    if place is not None:
        prefix = line[: place.end()]
    # "[TRT]" at the end of an empty message lacks the blank that belongs to the prefix.
    return prefix if prefix.endswith(b" ") else _NONE, len(prefix), said

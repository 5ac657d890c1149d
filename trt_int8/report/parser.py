"""A TensorRT verbose log, in one pass → what each build said.

Speed comes from looking at little: the prefix of the previous line is tried first, then the first six bytes
of the message choose a handler. Lines of single tactics are kept until their runner is done, and only read
where no ``Fastest Tactic`` line sums them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trt_int8.report.messages import Messages
from trt_int8.report.observed import Observed
from trt_int8.report.prefixes import LOCATION, PREFIX, level

#: Stands for "no prefix known": no line begins with it.
_NONE = b"\0no prefix"
#: How a row of one of Myelin's tables goes on behind " (foreignNode)", but not a sentence.
_ROW = frozenset(b"%c" % digit for digit in b" 0123456789")


def observe(chunks: Iterable[list[bytes]]) -> Iterator[Observed]:
    """The builds of a log, from lists of lines without newlines."""
    messages = Messages()
    reading, other = messages.reading, messages.other
    find = messages.handlers().get
    ignore, tactic, foreign, longer = find(b"Total "), find(b"Tactic"), find(b" (fore"), find(b"[TRT] ")
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
                # trtexec's own "[V] " is the beginning of TensorRT's "[V] [TRT] ", and that one of
                # "[V] [TRT] ModelImporter.cpp:103: ".
                prefix, start, reading.severity = _prefix(line)
                key, loud = slice(start, start + 6), reading.severity in ("W", "E")
                handler = find(line[key])
            if handler is None:
                if b" Set Tactic Name: " not in line:
                    other(line[start:], number)
            elif handler is tactic:
                add_tactic(line)
            elif handler is ignore:
                if loud:
                    other(line[start:], number)
            elif handler is foreign and line[start + 15 : start + 16] in _ROW:
                add_row(line)
            else:
                message = line[start:]
                if handler(message, number) is False:
                    other(message, number)
                if messages.finished:
                    yield from messages.take()
        reading.tuning.shorten()
    yield from messages.end(number)


def _prefix(line: bytes) -> tuple[bytes, int, str]:
    """What to try on the next lines, where the message begins, and its level."""
    found = PREFIX.match(line)
    if found is None:
        return _NONE, 0, ""  # a bare line carries no level, and the next one may have a prefix again
    prefix, said = found.group(), level(found)
    place = LOCATION.match(line, len(prefix)) if said not in ("W", "E") else None
    if place is not None:
        prefix = line[: place.end()]
    # "[TRT]" at the end of an empty message lacks the blank that belongs to the prefix.
    return prefix if prefix.endswith(b" ") else _NONE, len(prefix), said

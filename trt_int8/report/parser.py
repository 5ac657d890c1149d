"""A TensorRT verbose log, in one pass → what each build said.

Speed comes from looking at little: the prefix of the previous line is tried first, then the first six bytes
of the message choose a handler. Most lines match none and are counted. Lines of single tactics are kept
until their runner is done, and only read where no ``Fastest Tactic`` line sums them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from trt_int8.report.messages import Messages
from trt_int8.report.observed import Observed
from trt_int8.report.prefixes import PREFIX, level

#: Levels whose messages are always kept.
_LOUD = ("W", "E")

#: How a row of one of Myelin's tables goes on, but not a sentence.
_DIGITS = frozenset(b"%c" % digit for digit in b" 0123456789")

#: First six bytes of messages that are understood and say nothing a report needs.
_KNOWN = frozenset(
    {
        b"      ",
        b"    In",
        b"    Ou",
        b"After ",
        b"Alloca",
        b"Applyi",
        b"Assign",
        b"Block ",
        b"Buildi",
        b"CONSTA",
        b"CUDA l",
        b"Castin",
        b"Compil",
        b"Config",
        b"ConstS",
        b"Constr",
        b"ConvRe",
        b"Convol",
        b"Create",
        b"Deleti",
        b"Deseri",
        b"Detect",
        b"Disabl",
        b"Doc st",
        b"Domain",
        b"Elimin",
        b"Enabli",
        b"Finali",
        b"Format",
        b"GRAPH ",
        b"Gather",
        b"Genera",
        b"Global",
        b"Graph ",
        b"Import",
        b"Input ",
        b"Kernel",
        b"Layer:",
        b"Loaded",
        b"Local ",
        b"Markin",
        b"Max Sc",
        b"Mergin",
        b"Model ",
        b"Number",
        b"Opset ",
        b"Origin",
        b"Output",
        b"Plugin",
        b"Produc",
        b"Reserv",
        b"Retarg",
        b"Runnin",
        b"STILL ",
        b"SYMBOL",
        b"Saved ",
        b"Search",
        b"Serial",
        b"Set ca",
        b"Settin",
        b"Some t",
        b"Static",
        b"Subgra",
        b"Swap t",
        b"Total ",
        b"Trying",
        b"Using ",
        b"[Block",
        b"[MemUs",
    }
)


def observe(chunks: Iterable[list[bytes]]) -> Iterator[Observed]:
    """The builds of a log, from lists of lines without newlines."""
    messages = Messages()
    handlers: dict[bytes, Callable[[bytes, int], object]] = messages.handlers()
    tactic, table_row = messages.tactic, messages.table_row
    prefix, length = b"", 0
    known = _KNOWN
    number = 0
    for lines in chunks:
        for line in lines:
            number += 1
            if length and line.startswith(prefix):
                key = line[length : length + 6]
                if key == b"Tactic":
                    tactic(line)
                    continue
                if key == b" (fore" and line[length + 15 : length + 16] in _DIGITS:
                    table_row(line)
                    continue
                start = length
            else:
                found = PREFIX.match(line)
                if found:
                    prefix = found.group()
                    start = length = len(prefix)
                    messages.severity = level(found)
                else:
                    start = 0
                    # A bare line carries no level; the next one with the known prefix must set it again.
                    length, messages.severity = 0, ""
                key = line[start : start + 6]
            handler = handlers.get(key)
            if handler is None:
                if key in known and messages.severity not in _LOUD:
                    continue
                messages.other(line[start:], number)
            else:
                message = line[start:]
                if handler(message, number) is False:
                    messages.other(message, number)
                if messages.finished:
                    yield from messages.take()
    yield from messages.end(number)

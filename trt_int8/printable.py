r"""Show text that comes from files, such as names of tensors, where it can do no harm.

A name can hold anything: control characters that a terminal obeys (ESC, C1, DEL), characters that reorder
or hide text (bidi controls, zero-width characters), line breaks that forge a line, halves of surrogate pairs,
and words that a shell would run. In text for people, each such character becomes its escape, ``\x1b`` or
``\u202e``; in JSON and YAML the escapes stand for the true names; in commands to paste, names are quoted.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

#: Control characters, formatting characters, characters without a width, halves of surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` on one line, with escapes for characters that a terminal does not just print.

    Args:
        text: any text.
        keep: characters that stay, such as ``"\n"`` for a text of several lines.

    Examples:
        >>> printable("conv\x1b[31m\n1")
        'conv\\x1b[31m\\n1'
        >>> printable("one\ntwo", keep="\n")
        'one\ntwo'
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep else character.encode("unicode_escape").decode("ascii")

    return _UNSAFE.sub(escape, text)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return `printable` cells in columns, one line per row."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in cells
    )


def shell_word(name: str) -> str:
    r"""Return ``name`` as a word of a shell command, for an option that takes names or globs.

    A character that cannot be printed becomes ``?``, which matches it.

    Examples:
        >>> shell_word("x'; touch y")
        '\'x\'"\'"\'; touch y\''
        >>> shell_word("conv\x1b1")
        "'conv?1'"
    """
    return shlex.quote(_UNSAFE.sub("?", name))


def json_text(document: object, **how: Any) -> str:
    r"""Return JSON with escapes for the characters that `printable` escapes; ``how`` goes to ``json.dumps``.

    Examples:
        >>> json_text({"é\x7f": "\U000e0001"})
        '{"é\\u007f": "\\udb40\\udc01"}'
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character == "\n":
            return character  # between the entries: json escapes those in strings
        units = character.encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))

    return _UNSAFE.sub(escape, json.dumps(document, ensure_ascii=False, **how))

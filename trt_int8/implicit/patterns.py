"""Names and globs of tensors and layers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def matching(pattern: str, names: Iterable[str], *, exact: bool = False) -> list[str]:
    """The names that ``pattern`` stands for: the one of just that name, else those the glob fits.

    In a glob ``*`` stands for any characters and ``?`` for one. Brackets stand for themselves, since
    TensorRT's own names hold them: ``(Unnamed Layer* 4) [Fully Connected]_output``. With ``exact`` there
    are no globs.
    """
    listed = list(names)
    if exact or pattern in listed:
        return [name for name in listed if name == pattern]
    parts = {"*": ".*", "?": "."}
    glob = re.compile("".join(parts.get(letter, re.escape(letter)) for letter in pattern), re.DOTALL)
    return [name for name in listed if glob.fullmatch(name)]


def nearest(pattern: str, names: Iterable[str]) -> str:
    """For an error: the names that come nearest to ``pattern``."""
    listed = list(names)
    lower = {name.lower(): name for name in listed}
    near = difflib.get_close_matches(pattern.strip("*?").lower(), list(lower), n=3, cutoff=0.4)
    if near:
        return f"nearest names: {', '.join(lower[name] for name in near)}"
    return f"the first of {len(listed)} names: {', '.join(listed[:3])}" if listed else "there are no names"

"""Match names of nodes, layers and tensors against names and globs.

All patterns of the package have these rules. A pattern that equals a name matches only that name. Any other
pattern is a glob: ``*`` matches any characters and ``?`` matches one. Brackets have no special meaning, since
names contain them: ``(Unnamed Layer* 4) [Fully Connected]_output``, ``blk[0]/conv``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def matching(pattern: str, names: Iterable[str], *, exact: bool = False) -> list[str]:
    """Return the names that ``pattern`` matches, in their order; ``exact``: the pattern is always a name."""
    listed = list(names)
    if exact or pattern in listed:
        return [name for name in listed if name == pattern]
    parts = {"*": ".*", "?": "."}
    glob = re.compile("".join(parts.get(letter, re.escape(letter)) for letter in pattern), re.DOTALL)
    return [name for name in listed if glob.fullmatch(name)]


def nearest(pattern: str, names: Iterable[str]) -> str:
    """Return the names that are most similar to ``pattern``, as a text for an error."""
    listed = list(dict.fromkeys(names))
    lower = {name.lower(): name for name in listed}
    near = difflib.get_close_matches(pattern.strip("*?").lower(), list(lower), n=3, cutoff=0.4)
    if near:
        return f"nearest names: {', '.join(lower[name] for name in near)}"
    return f"the first of {len(listed)} names: {', '.join(listed[:3])}" if listed else "there are no names"

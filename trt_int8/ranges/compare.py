"""Show, compare, merge and change ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trt_int8.errors import RangeError
from trt_int8.patterns import matching, nearest
from trt_int8.printable import aligned
from trt_int8.ranges.cache import scale_to_hex
from trt_int8.ranges.ranges import Ranges, TensorRange


def range_table(ranges: Ranges, *, tensors: Iterable[str] | None = None, source: bool = False) -> str:
    """Return aligned columns: tensor, scale as in the cache, scale, amax, and with ``source`` the origin.

    ``tensors`` are those to show, in this order; None: all.
    """
    rows = [["tensor", "scale (hex)", "scale", "amax"] + (["from"] if source else [])]
    for name in ranges if tensors is None else tensors:
        entry = ranges[name]
        row = [
            name,
            scale_to_hex(entry.scale),
            *(f"{value:.6g}".replace("inf", "infinite") for value in (entry.scale, entry.amax)),
        ]
        rows.append(row + ([entry.source] if source else []))
    return aligned(rows)


@dataclass(frozen=True)
class RangeChange:
    """amax of one tensor in two sets of ranges."""

    name: str
    left: float
    right: float

    @property
    def ratio(self) -> float:
        """The larger over the smaller; 1 if they are equal, inf if one is 0 or infinite."""
        low, high = sorted((self.left, self.right))
        if low == high:
            return 1.0
        return high / low if low else math.inf


@dataclass(frozen=True)
class RangeDiff:
    """The result of `diff`.

    Attributes:
        changes: tensors that both have, the largest ratio first.
        only_left, only_right: names that only one of them has.
    """

    changes: tuple[RangeChange, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]

    def above(self, ratio: float) -> tuple[RangeChange, ...]:
        """Return the tensors whose ranges differ by more than ``ratio``."""
        return tuple(change for change in self.changes if not change.ratio <= ratio)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; infinite values become null."""
        figures = ("left", "right", "ratio")
        return {
            "tensors": [
                {"name": change.name, **{key: _finite(getattr(change, key)) for key in figures}}
                for change in self.changes
            ],
            "only_left": list(self.only_left),
            "only_right": list(self.only_right),
        }


def diff(left: Ranges, right: Ranges) -> RangeDiff:
    """Compare two sets of ranges tensor by tensor."""
    changes = [RangeChange(name, left[name].amax, right[name].amax) for name in left if name in right]
    return RangeDiff(
        tuple(sorted(changes, key=lambda change: -change.ratio)),
        tuple(name for name in left if name not in right),
        tuple(name for name in right if name not in left),
    )


#: How `merge` chooses the range of a tensor that both have.
MERGES: dict[str, Callable[[TensorRange, TensorRange], TensorRange]] = {
    "max": lambda left, right: max(left, right, key=lambda entry: entry.amax),
    "min": lambda left, right: min(left, right, key=lambda entry: entry.amax),
    "left": lambda left, right: left,
    "right": lambda left, right: right,
}


def merge(left: Ranges, right: Ranges, *, how: str = "max") -> Ranges:
    """Return the tensors of both, in the order of ``left``, then ``right``; ``how`` is a key of `MERGES`."""
    choose = MERGES[how]
    merged = {name: choose(entry, right[name]) if name in right else entry for name, entry in left.items()}
    merged.update({name: entry for name, entry in right.items() if name not in left})
    return Ranges(merged)


def set_ranges(ranges: Ranges, values: Mapping[str, float], *, unset: Sequence[str] = ()) -> Ranges:
    """Return ranges in which those of some tensors are replaced and others are removed.

    Args:
        ranges: the ranges.
        values: name or glob → amax; a later one overrides.
        unset: names or globs of tensors to remove, so that their consumers stay float.

    Raises:
        RangeError: a glob matches no tensor.
    """
    changed = dict(ranges)
    for glob, amax in values.items():
        for name in _matching(glob, ranges):
            changed[name] = TensorRange(amax, source="set manually")
    for glob in unset:
        for name in _matching(glob, ranges):
            changed.pop(name, None)
    return Ranges(changed)


def _matching(glob: str, names: Mapping[str, Any]) -> list[str]:
    found = matching(glob, names)
    if not found:
        raise RangeError(f"{glob!r} matches none of the {len(names)} tensors; {nearest(glob, names)}")
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

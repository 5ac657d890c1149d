"""Compare and combine ranges: what changed between two calibrations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trt_int8.errors import RangeError
from trt_int8.patterns import matching, nearest
from trt_int8.ranges.ranges import Ranges, TensorRange


@dataclass(frozen=True)
class Change:
    """One tensor in two sets of ranges.

    Attributes:
        left, right: amax.
        ratio: the larger over the smaller; 1 where they are equal, inf where one is 0 or infinite.
    """

    name: str
    left: float
    right: float

    @property
    def ratio(self) -> float:
        low, high = sorted((self.left, self.right))
        if low == high:
            return 1.0
        return high / low if low else math.inf


@dataclass(frozen=True)
class RangeDiff:
    """The result of `diff`.

    Attributes:
        changes: tensors of both, the largest ratio first.
        only_left, only_right: names that the other one lacks.
    """

    changes: tuple[Change, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]

    def above(self, ratio: float) -> tuple[Change, ...]:
        """Tensors whose ranges differ by more than ``ratio``."""
        return tuple(change for change in self.changes if not change.ratio <= ratio)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; infinite values become null."""
        return {
            "tensors": [
                {
                    "name": c.name,
                    "left": _finite(c.left),
                    "right": _finite(c.right),
                    "ratio": _finite(c.ratio),
                }
                for c in self.changes
            ],
            "only_left": list(self.only_left),
            "only_right": list(self.only_right),
        }


def diff(left: Ranges, right: Ranges) -> RangeDiff:
    """Compare two sets of ranges tensor by tensor."""
    changes = [Change(name, left[name].amax, right[name].amax) for name in left if name in right]
    return RangeDiff(
        tuple(sorted(changes, key=lambda change: -change.ratio)),
        tuple(name for name in left if name not in right),
        tuple(name for name in right if name not in left),
    )


#: How `merge` chooses where both have a tensor.
MERGES: dict[str, Callable[[TensorRange, TensorRange], TensorRange]] = {
    "max": lambda left, right: max(left, right, key=lambda entry: entry.amax),
    "min": lambda left, right: min(left, right, key=lambda entry: entry.amax),
    "left": lambda left, right: left,
    "right": lambda left, right: right,
}


def merge(left: Ranges, right: Ranges, *, how: str = "max") -> Ranges:
    """All tensors of both, in the order of ``left``, then of ``right``.

    Args:
        left, right: the ranges.
        how: of `MERGES`, for tensors that both have.
    """
    choose = MERGES[how]
    merged = {name: choose(entry, right[name]) if name in right else entry for name, entry in left.items()}
    merged.update({name: entry for name, entry in right.items() if name not in left})
    return Ranges(merged)


def set_ranges(ranges: Ranges, values: Mapping[str, float], *, unset: Sequence[str] = ()) -> Ranges:
    """Ranges with those of some tensors replaced, and others left out.

    Args:
        ranges: the ranges.
        values: name or glob → amax; a later one wins.
        unset: names or globs of tensors to leave out, so that what reads them stays float.

    Raises:
        RangeError: a glob fits no tensor.
    """
    changed = dict(ranges)
    for glob, amax in values.items():
        for name in _matching(glob, ranges):
            changed[name] = TensorRange(amax, source="set by hand")
    for glob in unset:
        for name in _matching(glob, ranges):
            changed.pop(name, None)
    return Ranges(changed)


def _matching(glob: str, names: Mapping[str, Any]) -> list[str]:
    found = matching(glob, names)
    if not found:
        raise RangeError(f"{glob!r} fits none of the {len(names)} tensors; {nearest(glob, names)}")
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

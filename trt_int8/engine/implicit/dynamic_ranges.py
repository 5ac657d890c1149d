"""Dynamic ranges set by hand: rules from YAML, JSON, a calibration cache or a dict, for tensors of a network.

::

    # ranges.yaml: a later line wins
    "*/relu*": [0, 6]
    head/logits: 12.5
    "block3/*": unset
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trt_int8.dependencies import require
from trt_int8.errors import RangeError
from trt_int8.patterns import matching, nearest
from trt_int8.ranges import CalibrationCache, Ranges

Source = str | os.PathLike[str] | Mapping[str, Any] | Ranges

_FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True)
class RangeRule:
    """One line of overrides.

    Attributes:
        pattern: name or glob of tensors, see `trt_int8.patterns.matching`.
        bounds: smallest and largest value; None to leave the tensors without a range.
        place: where the rule stands, for messages (``ranges.yaml:3``).
        from_cache: a line of a calibration cache, whose names are no globs and may be unknown.
    """

    pattern: str
    bounds: tuple[float, float] | None
    place: str
    from_cache: bool = False

    @property
    def amax(self) -> float | None:
        """The bound TensorRT uses: its INT8 is symmetric, so the larger of the two."""
        return None if self.bounds is None else max(map(abs, self.bounds))

    @property
    def wasted_codes(self) -> int:
        """How many of the 256 INT8 codes no value within the bounds maps to.

        With scale amax / 127 the values use the codes round(low / scale) … round(high / scale).
        """
        if self.bounds is None or not self.amax:
            return 0
        low, high = (round(bound / self.amax * 127) for bound in self.bounds)
        return 256 - (high - low + 1)

    def __str__(self) -> str:
        if self.bounds is None:
            return f"{self.pattern}: unset"
        low, high = self.bounds
        if low == -high:
            return f"{self.pattern}: {high:g}"
        return (
            f"{self.pattern}: [{low:g}, {high:g}], of which TensorRT makes [{-(self.amax or 0):g}, "
            f"{self.amax:g}]: {self.wasted_codes} of the 256 codes are never used"
        )


@dataclass(frozen=True)
class Resolution:
    """What rules mean for the tensors of one network.

    Attributes:
        rules: the rule in force for each tensor that has one.
        hits: how many tensors each rule fits, in the order of the rules.
    """

    rules: Mapping[str, RangeRule]
    hits: Sequence[tuple[RangeRule, int]] = field(default_factory=list)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Tensor → bounds, for those that get a range."""
        return {name: rule.bounds for name, rule in self.rules.items() if rule.bounds is not None}

    @property
    def unset(self) -> list[str]:
        """Tensors that a rule set by hand leaves without a range."""
        return [n for n, rule in self.rules.items() if rule.bounds is None and not rule.from_cache]

    def missing(self, tensors: Iterable[str]) -> list[str]:
        """Those of ``tensors`` without a range; without calibration TensorRT keeps them out of INT8."""
        return [name for name in tensors if name not in self.ranges]

    def caches(self) -> dict[str, tuple[int, int]]:
        """Place of each cache → how many of its tensors are in the network, and how many it has."""
        found: dict[str, tuple[int, int]] = {}
        for rule, hit in self.hits:
            if rule.from_cache:
                before = found.get(rule.place, (0, 0))
                found[rule.place] = (before[0] + hit, before[1] + 1)
        return found

    def lines(self) -> list[str]:
        """A line for each rule and each cache, for people."""
        lines = [
            f"{place}: {hit} of its {of} tensors are in the network"
            for place, (hit, of) in self.caches().items()
        ]
        for rule, hit in self.hits:
            if not rule.from_cache:
                in_force = sum(other is rule for other in self.rules.values())
                overridden = f", {hit - in_force} of them overridden later" if in_force < hit else ""
                lines.append(f"{rule} ({hit} {'tensor' if hit == 1 else 'tensors'}{overridden})")
        return lines


def resolve(rules: Iterable[RangeRule], tensors: Iterable[str]) -> Resolution:
    """Match ``rules`` with the names of tensors; a later rule wins over an earlier one.

    Raises:
        RangeError: a rule fits no tensor (gives the nearest names), or no line of a cache does.
    """
    names = list(tensors)
    chosen: dict[str, RangeRule] = {}
    hits = []
    for rule in rules:
        found = matching(rule.pattern, names, exact=rule.from_cache)
        if not found and not rule.from_cache:
            raise RangeError(
                f"{rule.place}: {rule.pattern!r} is no tensor of the network; {nearest(rule.pattern, names)}"
            )
        chosen.update(dict.fromkeys(found, rule))
        hits.append((rule, len(found)))
    resolution = Resolution({name: chosen[name] for name in names if name in chosen}, hits)
    for place, (hit, of) in resolution.caches().items():
        if not hit:
            raise RangeError(
                f"{place}: none of its {of} tensors is in the network: it belongs to another model"
            )
    return resolution


def apply(resolution: Resolution, tensors: Mapping[str, Any]) -> None:
    """Give the tensors of a network their ranges. They win over what calibration finds.

    Raises:
        RangeError: TensorRT refuses a range.
    """
    for name, rule in resolution.rules.items():
        tensor = tensors[name]
        if rule.bounds is None:
            tensor.reset_dynamic_range()
        elif not tensor.set_dynamic_range(*rule.bounds):
            raise RangeError(f"{rule.place}: TensorRT refuses the range {rule.bounds} for tensor {name!r}")


def read_rules(source: Source) -> list[RangeRule]:
    """The rules of ``source``, in its order.

    Args:
        source: a ``.yaml``, ``.yml`` or ``.json`` file that maps names or globs to amax, [min, max] or
            ``unset``; any other file is read as a calibration cache, of which tensors that the network
            lacks are passed over; a dict like those files; or `Ranges`.

    Raises:
        RangeError: an unreadable file, or a value that is no range (with file and line).
        CacheError: an unreadable cache.
        MissingDependencyError: YAML needs PyYAML.
    """
    if isinstance(source, Ranges):
        return _from_ranges(source, "ranges")
    if isinstance(source, Mapping):
        return [rule(name, value, place="dynamic ranges") for name, value in source.items()]
    path = Path(source)
    if path.suffix == ".json":
        return [rule(name, value, place=str(path)) for name, value in _json_pairs(path)]
    if path.suffix in (".yaml", ".yml"):
        return [rule(name, value, place=f"{path}:{line}") for name, value, line in _yaml_entries(path)]
    return _from_ranges(CalibrationCache.read(path).ranges(), str(path))


def _from_ranges(ranges: Ranges, place: str) -> list[RangeRule]:
    """A scale of 0 or inf is no range that TensorRT takes: such a tensor is left without."""
    rules = []
    for name, value in ranges.items():
        amax = float(np.float32(value.amax))
        rules.append(RangeRule(name, (-amax, amax) if value.usable else None, place, from_cache=True))
    return rules


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RangeError(f"{path}: no such file; check the path of the dynamic ranges") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RangeError(f"{path}: cannot be read: {error}") from error


def _json_pairs(path: Path) -> list[tuple[str, Any]]:
    text = _text(path)
    try:
        # Pairs, because a dict would drop the first of two equal names and its place.
        pairs = json.loads(text, object_pairs_hook=lambda found: found)
    except json.JSONDecodeError as error:
        raise RangeError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not text.lstrip().startswith("{"):
        raise RangeError(f"{path}: must hold an object of tensor names and ranges")
    return list(pairs)


def _yaml_entries(path: Path) -> Iterator[tuple[str, Any, int]]:
    yaml = require("yaml", purpose=f"reading {path}")
    loader = yaml.SafeLoader(_text(path))
    try:
        document = loader.get_single_node()
        if not isinstance(document, yaml.MappingNode):
            raise RangeError(f"{path}:1: must map tensor names to ranges, one a line: 'conv1: 6.0'")
        for key, value in document.value:
            line = key.start_mark.line + 1
            yield loader.construct_object(key), loader.construct_object(value, deep=True), line
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = path if mark is None else f"{path}:{mark.line + 1}"
        raise RangeError(f"{place}: not YAML: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()


def rule(pattern: str, value: Any, *, place: str) -> RangeRule:
    """A rule from what a file or dict says: amax, [min, max] or ``unset``.

    Raises:
        RangeError: anything else; numbers that are no range.
    """
    if not isinstance(pattern, str) or not pattern:
        raise RangeError(
            f"{place}: {pattern!r} is not the name of a tensor; quote names that look like numbers"
        )
    if isinstance(value, str) and value.strip().lower() == "unset":
        return RangeRule(pattern, None, place)
    if _is_number(value):
        if value <= 0:
            raise RangeError(f"{place}: amax of {pattern!r} is {value}; it must be more than 0 (or 'unset')")
        return RangeRule(pattern, (-float(value), float(value)), place)
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
        low, high = float(value[0]), float(value[1])
        if low >= high:
            raise RangeError(f"{place}: range of {pattern!r} is [{low:g}, {high:g}]; min must be below max")
        return RangeRule(pattern, (low, high), place)
    raise RangeError(
        f"{place}: {pattern!r} has the value {value!r}; give amax (6.0), [min, max] ([-1.5, 6]) or unset"
    )


def _is_number(value: Any) -> bool:
    """A number that TensorRT's float32 can hold: no NaN, no infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FLOAT32_MAX

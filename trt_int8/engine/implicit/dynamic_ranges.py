"""Set dynamic ranges by hand, with rules from YAML, JSON, a calibration cache or a dict.

::

    # ranges.yaml: later lines override earlier lines
    "*/relu*": [0, 6]
    head/logits: 12.5
    "block3/*": unset
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trt_int8.documents import DocumentError, parse_json, parse_yaml
from trt_int8.errors import RangeError
from trt_int8.files.inputs import TEXT_LIMIT, read_input
from trt_int8.patterns import matching, nearest
from trt_int8.ranges import CalibrationCache, Ranges

Source = str | os.PathLike[str] | Mapping[str, Any] | Ranges
_FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True)
class RangeRule:
    """A range for some tensors.

    Attributes:
        pattern: name or glob of tensors, see `trt_int8.patterns.matching`.
        bounds: smallest and largest value; None: the tensors get no range.
        place: file and line of the rule, for messages (``ranges.yaml:3``).
        from_cache: a line of a calibration cache, whose names are not globs and may be unknown.
    """

    pattern: str
    bounds: tuple[float, float] | None
    place: str
    from_cache: bool = False

    @property
    def amax(self) -> float | None:
        """The larger absolute bound, which TensorRT uses, since its INT8 is symmetric."""
        return None if self.bounds is None else max(map(abs, self.bounds))

    @property
    def unused_values(self) -> int:
        """Number of the 256 INT8 values that no value within the bounds is quantized to.

        With scale amax / 127 the bounds use round(low / scale) … round(high / scale).
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
            f"{self.pattern}: [{low:g}, {high:g}], which TensorRT changes to [{-(self.amax or 0):g}, "
            f"{self.amax:g}]: {self.unused_values} of the 256 INT8 values are not used"
        )


@dataclass(frozen=True)
class Resolution:
    """Rules matched with the tensors of one network.

    Attributes:
        rules: tensor → the rule that applies.
        hits: each rule with the number of tensors that match it, in the order of the rules.
    """

    rules: Mapping[str, RangeRule]
    hits: Sequence[tuple[RangeRule, int]] = field(default_factory=list)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Tensor → bounds, for the tensors that get a range."""
        return {name: rule.bounds for name, rule in self.rules.items() if rule.bounds is not None}

    @property
    def unset(self) -> list[str]:
        """Tensors that a rule from YAML, JSON or a dict leaves without a range."""
        return [n for n, rule in self.rules.items() if rule.bounds is None and not rule.from_cache]

    def missing(self, tensors: Iterable[str]) -> list[str]:
        """Return the ``tensors`` without a range; without calibration TensorRT keeps them out of INT8."""
        return [name for name in tensors if name not in self.ranges]

    def caches(self) -> dict[str, tuple[int, int]]:
        """Return for each cache file the number of its tensors in the network, and of all its tensors."""
        found: dict[str, tuple[int, int]] = {}
        for rule, hit in self.hits:
            if rule.from_cache:
                before = found.get(rule.place, (0, 0))
                found[rule.place] = (before[0] + hit, before[1] + 1)
        return found

    def lines(self) -> list[str]:
        """Return a line for each rule and each cache, for people."""
        caches = self.caches().items()
        lines = [f"{place}: {hit} of its {of} tensors are in the network" for place, (hit, of) in caches]
        for rule, hit in self.hits:
            if not rule.from_cache:
                in_force = sum(other is rule for other in self.rules.values())
                overridden = f", {hit - in_force} of them overridden later" if in_force < hit else ""
                lines.append(f"{rule} ({hit} {'tensor' if hit == 1 else 'tensors'}{overridden})")
        return lines


def resolve(rules: Iterable[RangeRule], tensors: Iterable[str]) -> Resolution:
    """Match ``rules`` with the names of tensors; later rules override earlier rules.

    Raises:
        RangeError: a rule matches no tensor (gives the nearest names), or no line of a cache does.
    """
    names = list(tensors)
    chosen: dict[str, RangeRule] = {}
    hits = []
    for rule in rules:
        found = matching(rule.pattern, names, exact=rule.from_cache)
        if not found and not rule.from_cache:
            raise RangeError(
                f"{rule.place}: {rule.pattern!r} matches no tensor of the network; "
                f"{nearest(rule.pattern, names)}"
            )
        chosen.update(dict.fromkeys(found, rule))
        hits.append((rule, len(found)))
    resolution = Resolution({name: chosen[name] for name in names if name in chosen}, hits)
    for place, (hit, of) in resolution.caches().items():
        if not hit:
            raise RangeError(
                f"{place}: none of its {of} tensor names is in the network; the file is for another model"
            )
    return resolution


def apply(resolution: Resolution, tensors: Mapping[str, Any]) -> None:
    """Set the ranges of the tensors of a network. They override calibrated ranges.

    Raises:
        RangeError: TensorRT rejects a range.
    """
    for name, rule in resolution.rules.items():
        tensor = tensors[name]
        if rule.bounds is None:
            tensor.reset_dynamic_range()
        elif not tensor.set_dynamic_range(*rule.bounds):
            raise RangeError(f"{rule.place}: TensorRT rejects the range {rule.bounds} for tensor {name!r}")


def read_rules(source: Source) -> list[RangeRule]:
    """Read the rules of ``source``, in its order.

    Args:
        source: a ``.yaml``, ``.yml`` or ``.json`` file that maps names or globs to amax, [min, max] or
            ``unset``; any other file is read as a calibration cache, whose unknown tensors are ignored; a
            dict like those files; or `Ranges`.

    Raises:
        RangeError: an unreadable file, or a value that is not a range (with file and line).
        CacheError: an unreadable cache.
        MissingDependencyError: YAML needs PyYAML.
    """
    if isinstance(source, Ranges):
        return _from_ranges(source, "ranges")
    if isinstance(source, Mapping):
        return [rule(name, value, place="dynamic ranges") for name, value in source.items()]
    path = Path(source)
    if path.suffix in (".json", ".yaml", ".yml"):
        return [rule(name, value, place=place) for name, value, place in _entries(path)]
    return _from_ranges(CalibrationCache.read(path).ranges(), str(path))


def _from_ranges(ranges: Ranges, place: str) -> list[RangeRule]:
    """Return rules without bounds for scales of 0 or inf, which TensorRT rejects."""
    amax = {name: float(np.float32(value.amax)) if value.usable else None for name, value in ranges.items()}
    return [
        RangeRule(name, None if bound is None else (-bound, bound), place, from_cache=True)
        for name, bound in amax.items()
    ]


def _entries(path: Path) -> Iterator[tuple[Any, Any, str]]:
    """Yield (name, value, place) of a JSON or YAML file; of a name given twice, the later entry."""
    try:
        data = read_input(path, limit=TEXT_LIMIT)
        lines: Mapping[Any, int] = {}
        if path.suffix == ".json":
            document = parse_json(data, unique=False)
        else:
            document, lines = parse_yaml(data.decode("utf-8"), unique=False, purpose=f"reading {path}")
    except FileNotFoundError as error:
        raise RangeError(f"{path}: no such file; check the path of the dynamic ranges") from error
    except DocumentError as error:
        raise RangeError(f"{path}{error.at}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RangeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(document, dict):
        raise RangeError(f"{path}:1: must hold an object of tensor names and ranges, such as 'conv1: 6.0'")
    for name, value in document.items():
        yield name, value, f"{path}:{lines[name]}" if lines else str(path)


def rule(pattern: str, value: Any, *, place: str) -> RangeRule:
    """Return a rule for an entry of a file or dict: amax, [min, max] or ``unset``.

    Raises:
        RangeError: another value, or numbers that are not a range.
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
    """Return whether ``value`` is a finite number in the range of float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FLOAT32_MAX

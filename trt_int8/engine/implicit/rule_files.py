"""Read overrides of dynamic ranges: YAML, JSON, a calibration cache, or a dict.

::

    # ranges.yaml: a later line wins
    "*/relu*": [0, 6]
    head/logits: 12.5
    "block3/*": unset
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trt_int8.dependencies import require
from trt_int8.engine.implicit.overrides import Rule, rule
from trt_int8.errors import RangeError
from trt_int8.ranges import CalibrationCache, Ranges

Source = str | os.PathLike[str] | Mapping[str, Any] | Ranges


def read_rules(source: Source) -> list[Rule]:
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


def _from_ranges(ranges: Ranges, place: str) -> list[Rule]:
    """A scale of 0 or inf is no range that TensorRT takes: such a tensor is left without."""
    rules = []
    for name, value in ranges.items():
        amax = float(np.float32(value.amax))
        rules.append(Rule(name, (-amax, amax) if value.usable else None, place, from_cache=True))
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

"""Read a flat YAML file, remembering the line of each key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trt_int8.dependencies import require
from trt_int8.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """One value, and the line (from 1) where its key is."""

    value: Any
    line: int


def read_settings(path: str | os.PathLike[str]) -> dict[str, Setting]:
    """The keys of a YAML file: ``name: value``, a value being a scalar or a list of scalars.

    Raises:
        ConfigError: the file is missing, is no YAML, has no mapping at its top, a key twice, or a value
            that is neither a scalar nor a list of scalars; with file and line.
        MissingDependencyError: PyYAML is not installed.
    """
    yaml = require("yaml", purpose="reading a configuration file")
    place = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{place}: no such file; check the path of the configuration") from error
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: not UTF-8 text ({error}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{place}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{place}:1: write one 'option: value' a line")
    settings: dict[str, Setting] = {}
    for key_node, _ in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in settings:
            raise ConfigError(f"{place}:{line}: {key!r} is given twice (first on line {settings[key].line})")
        value = values.get(key)
        if not _is_plain(value):
            raise ConfigError(f"{place}:{line}: {key!r} must be a single value or a list of them")
        settings[key] = Setting(value, line)
    return settings


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) and not isinstance(item, list) for item in value)
    return not isinstance(value, dict)

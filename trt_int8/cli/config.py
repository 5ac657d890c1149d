"""Configuration files: read and write the parameters of a command as YAML."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from trt_int8 import documents
from trt_int8.documents import DocumentError, parse_yaml
from trt_int8.errors import ConfigError
from trt_int8.files.inputs import TEXT_LIMIT, read_input

#: Keys of ``Context.meta``: by parameter, the value before conversion, and its place in a file.
GIVEN, PLACES = "trt_int8.given", "trt_int8.places"
#: Parameters that no configuration file has.
_LEFT_OUT = frozenset(["config", "print_config", "help"])


@dataclass(frozen=True)
class Setting:
    """A value, and the line (from 1) of its key."""

    value: Any
    line: int


def read_settings(path: str | os.PathLike[str]) -> dict[str, Setting]:
    """Read a YAML file of ``name: value``. A value is a scalar or a list of scalars.

    Raises:
        ConfigError: the file is missing, is not such a YAML file, or has a key twice; with file and line.
        MissingDependencyError: PyYAML is not installed.
    """
    place = os.fspath(path)
    try:
        text = read_input(path, limit=TEXT_LIMIT).decode("utf-8")
        values, lines = parse_yaml(text, purpose="reading a configuration file")
    except FileNotFoundError as error:
        raise ConfigError(f"{place}: no such file; check the path of the configuration") from error
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: not UTF-8 text ({error}); save it as UTF-8") from error
    except DocumentError as error:
        raise ConfigError(f"{place}{error.at}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{place}:1: write one 'option: value' per line")
    settings: dict[str, Setting] = {}
    for key, value in values.items():
        if not _is_plain(value):
            raise ConfigError(f"{place}:{lines[key]}: {key!r} must be one value or a list of values")
        if "\0" in str(value):
            raise ConfigError(f"{place}:{lines[key]}: {key!r} has a NUL character; remove it")
        settings[str(key)] = Setting(value, lines[key])
    return settings


def _is_plain(value: Any) -> bool:
    return not any(isinstance(item, list | dict) for item in (value if isinstance(value, list) else [value]))


def key(parameter: click.Parameter) -> str:
    """Return the name of a parameter in a file: ``batch-size`` for ``--batch-size``, ``model`` for MODEL."""
    if isinstance(parameter, click.Option):
        return next((o[2:] for o in parameter.opts if o.startswith("--")), parameter.opts[0].lstrip("-"))
    return str(parameter.name)


def default_map(
    settings: Mapping[str, Setting], parameters: Iterable[click.Parameter], *, place: str
) -> dict[str, Any]:
    """Convert ``settings`` to click's ``Context.default_map``, which the command line overrides.

    Raises:
        ConfigError: a key is unknown (with the nearest name), or a value has the wrong type.
    """
    known = _known(parameters)
    found: dict[str, Any] = {}
    for name, setting in settings.items():
        parameter = known.get(name)
        if parameter is None or parameter.name is None:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else f" (known: {', '.join(map(key, _settable(parameters)))})"
            )
            raise ConfigError(f"{place}:{setting.line}: unknown key {name!r}{hint}")
        if parameter.name in found:
            raise ConfigError(f"{place}:{setting.line}: {name!r} is given twice under two spellings")
        wrong = None if setting.value is None else _wrong_kind(setting.value, parameter)
        if wrong is not None:
            raise ConfigError(f"{place}:{setting.line}: {name!r} {wrong}")
        if setting.value is not None:
            found[parameter.name] = _for_click(setting.value, parameter)
    return found


def places(
    settings: Mapping[str, Setting], parameters: Iterable[click.Parameter], *, place: str
) -> dict[str, str]:
    """Return the place of each parameter's value, by parameter name: ``job.yaml:4: 'limit'``."""
    known = _known(parameters)
    return {
        str(known[name].name): f"{place}:{setting.line}: {name!r}"
        for name, setting in settings.items()
        if name in known
    }


def to_yaml(
    parameters: Iterable[click.Parameter], values: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> str:
    """Return a YAML file with one line per parameter; the value is ``null`` if there is none.

    A hidden option is written only if it was given. ``values`` are those after conversion by click,
    ``given`` those before it, which are written for parameters with a callback.
    """
    given = given or {}
    written = {}
    for parameter in _settable(parameters):
        name = str(parameter.name)
        value = given[name] if parameter.callback and name in given else values.get(name)
        if value is not None or not getattr(parameter, "hidden", False):
            written[key(parameter)] = _for_yaml(value)
    return documents.to_yaml(written, purpose="printing the configuration")


def _settable(parameters: Iterable[click.Parameter]) -> list[click.Parameter]:
    return [parameter for parameter in parameters if parameter.name not in _LEFT_OUT]


def _known(parameters: Iterable[click.Parameter]) -> dict[str, click.Parameter]:
    return {
        spelling: parameter
        for parameter in _settable(parameters)
        for spelling in (str(parameter.name), *(o.lstrip("-") for o in parameter.opts if len(o) != 2))
    }


def _for_click(value: Any, parameter: click.Parameter) -> Any:
    if parameter.nargs != 1 or (isinstance(parameter, click.Option) and parameter.multiple):
        return value if isinstance(value, list) else [value]
    # On the command line a list is one text with commas: --mean 0.485,0.456,0.406
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _for_yaml(value: Any) -> Any:
    if type(value) in (tuple, list):
        return [_for_yaml(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _wrong_kind(value: Any, parameter: click.Parameter) -> str | None:
    """Return what is wrong with the YAML type of ``value`` and what to write, None if it is right.

    click converts a text, as on the command line. Options with a callback take numbers and lists
    (``scale: 0.5``, ``mean: [0.485, 0.456, 0.406]``).

    Examples:
        >>> limit = click.Option(["--limit"], type=int)
        >>> _wrong_kind(5.5, limit)
        'is 5.5; give a whole number'
        >>> _wrong_kind(5, limit), _wrong_kind("5", limit)
        (None, None)
    """
    several = parameter.nargs != 1 or bool(getattr(parameter, "multiple", False))
    takes_commas = isinstance(parameter.type, click.types.StringParamType)  # --mean 0.485,0.456,0.406
    if isinstance(value, list) and (several or takes_commas):
        return next((wrong for item in value if (wrong := _wrong_item(item, parameter))), None)
    if isinstance(value, list):
        return f"is the list {value!r}; give one value"
    return _wrong_item(value, parameter)


def _wrong_item(value: Any, parameter: click.Parameter) -> str | None:
    kind = parameter.type
    if getattr(parameter, "is_flag", False):
        return None if isinstance(value, bool) else f"is {value!r}; give true or false"
    if isinstance(value, str):
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    shown = f"is {str(value).lower() if isinstance(value, bool) else value}"
    if isinstance(kind, click.types.IntParamType):
        return None if number and isinstance(value, int) else f"{shown}; give a whole number"
    if isinstance(kind, click.types.FloatParamType):
        return None if number else f"{shown}; give a number"
    if isinstance(kind, click.Choice):
        return f"{shown}; give one of {', '.join(kind.choices)} (in quotes if YAML reads it otherwise)"
    if parameter.callback is not None:
        return None if number else f"{shown}; give a number, or a text in quotes"
    return f"{shown}, which YAML does not read as text; put it in quotes"

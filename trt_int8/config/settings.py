"""Between a configuration file and the parameters of a click command, whatever those are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import click

from trt_int8.config.file import Setting
from trt_int8.config.values import wrong_kind
from trt_int8.dependencies import require
from trt_int8.errors import ConfigError

#: Parameters that are about the configuration itself.
_LEFT_OUT = frozenset(["config", "print_config", "help"])


def key(parameter: click.Parameter) -> str:
    """What a parameter is called in a file: ``batch-size`` for ``--batch-size``, ``model`` for MODEL."""
    if isinstance(parameter, click.Option):
        return next((o[2:] for o in parameter.opts if o.startswith("--")), parameter.opts[0].lstrip("-"))
    return str(parameter.name)


def default_map(
    settings: Mapping[str, Setting], parameters: Iterable[click.Parameter], *, place: str
) -> dict[str, Any]:
    """``settings`` as click takes them (``Context.default_map``): the command line wins over them.

    Raises:
        ConfigError: a key that no parameter has, with the nearest name; a value of the wrong type.
    """
    known = _known(parameters)
    found: dict[str, Any] = {}
    for name, setting in settings.items():
        parameter = known.get(name)
        if parameter is None or parameter.name is None:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(_keys(parameters))})"
            raise ConfigError(f"{place}:{setting.line}: unknown key {name!r}{hint}")
        if parameter.name in found:
            raise ConfigError(f"{place}:{setting.line}: {name!r} is given twice under two spellings")
        wrong = None if setting.value is None else wrong_kind(setting.value, parameter)
        if wrong is not None:
            raise ConfigError(f"{place}:{setting.line}: {name!r} {wrong}")
        if setting.value is not None:
            found[parameter.name] = _for_click(setting.value, parameter)
    return found


def places(
    settings: Mapping[str, Setting], parameters: Iterable[click.Parameter], *, place: str
) -> dict[str, str]:
    """Parameter name → where its value stands: ``job.yaml:4: 'limit'``."""
    known = _known(parameters)
    return {
        str(known[name].name): f"{place}:{setting.line}: {name!r}"
        for name, setting in settings.items()
        if name in known
    }


def to_yaml(
    parameters: Iterable[click.Parameter],
    values: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> str:
    """``values`` by parameter name as a file that gives them back; what was left out stays out.

    Args:
        parameters: of the command.
        values: what click made of the command line.
        given: the same before conversion: what a callback turned into something else is written as it was.

    Raises:
        MissingDependencyError: PyYAML is not installed.
    """
    yaml = require("yaml", purpose="printing the configuration")
    written = {
        key(parameter): _for_yaml(
            (given or values).get(parameter.name) if parameter.callback else values[parameter.name]
        )
        for parameter in _settable(parameters)
        if parameter.name in values and values[parameter.name] not in (None, ())
    }
    return str(yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=1000))


def _settable(parameters: Iterable[click.Parameter]) -> list[click.Parameter]:
    return [parameter for parameter in parameters if parameter.name not in _LEFT_OUT]


def _known(parameters: Iterable[click.Parameter]) -> dict[str, click.Parameter]:
    return {spelling: parameter for parameter in _settable(parameters) for spelling in _spellings(parameter)}


def _keys(parameters: Iterable[click.Parameter]) -> list[str]:
    return [key(parameter) for parameter in _settable(parameters)]


def _spellings(parameter: click.Parameter) -> set[str]:
    options = {option.lstrip("-") for option in parameter.opts if len(option) > 2}
    return {key(parameter), str(parameter.name), *options}


def _for_click(value: Any, parameter: click.Parameter) -> Any:
    if parameter.nargs != 1 or (isinstance(parameter, click.Option) and parameter.multiple):
        return value if isinstance(value, list) else [value]
    # Lists on the command line are one text with commas: --mean 0.485,0.456,0.406
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _for_yaml(value: Any) -> Any:
    if type(value) in (tuple, list):
        return [_for_yaml(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)

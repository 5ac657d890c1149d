"""Whether a value of a configuration file is of the kind that its option takes."""

from __future__ import annotations

from typing import Any

import click


def wrong_kind(value: Any, parameter: click.Parameter) -> str | None:
    """What is wrong with the YAML type of ``value``, and what to write; None if it is right.

    A text is always left to click, which reads it as from the command line. Options with a callback read
    numbers and lists themselves (``scale: 0.5``, ``mean: [0.485, 0.456, 0.406]``).

    Examples:
        >>> limit = click.Option(["--limit"], type=int)
        >>> wrong_kind(5.5, limit)
        'is 5.5; give a whole number'
        >>> wrong_kind(5, limit), wrong_kind("5", limit)
        (None, None)
    """
    several = parameter.nargs != 1 or bool(getattr(parameter, "multiple", False))
    if isinstance(value, list) and (several or _takes_commas(parameter)):
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


def _takes_commas(parameter: click.Parameter) -> bool:
    """Whether the command line writes a list as one text with commas: ``--mean 0.485,0.456,0.406``."""
    return isinstance(parameter.type, click.types.StringParamType)

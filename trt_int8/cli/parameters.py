"""Options and arguments of the commands, alone and in groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trt_int8.cli.config import GIVEN, PLACES
from trt_int8.cli.help import Panel

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_COUNT: dict[str, Any] = {"metavar": "N", "type": click.IntRange(min=1)}


class _Parameter(click.Parameter):
    """A parameter that a configuration file can set. An empty path is an error."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Record the value as the user wrote it, for ``--print-config``."""
        value, source = super().consume_value(ctx, opts)
        if source is not ParameterSource.DEFAULT:
            ctx.meta.setdefault(GIVEN, {})[self.name] = value
        return value, source

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Refuse an empty path. Name the line of the configuration file that holds a wrong value.

        With ``--print-config``, which is eager and so comes first, required values may be missing.
        """
        try:
            if isinstance(self.type, click.Path):
                value = self._paths(ctx, value)
            return super().process_value(ctx, value)
        except click.MissingParameter:
            if ctx.params.get("print_config"):
                return None
            raise
        except click.BadParameter as error:
            place = ctx.meta.get(PLACES, {}).get(self.name)
            if place is None or ctx.get_parameter_source(str(self.name)) is not ParameterSource.DEFAULT_MAP:
                raise
            raise click.UsageError(f"{place}: {error.message}", ctx) from error

    def _paths(self, ctx: click.Context, value: Any) -> Any:
        """Refuse an empty path, which would be the current folder. ``-`` is stdin, or stdout for a result."""
        if isinstance(value, tuple | list):
            return type(value)(self._paths(ctx, item) for item in value)
        if value == "":
            raise click.BadParameter("the name is empty; is a variable of your script unset?", ctx, self)
        return ("/dev/stdout" if getattr(self, "result", False) else "/dev/stdin") if value == "-" else value


class Option(_Parameter, click.Option):
    """An option with its heading and its default in ``--help``. ``result``: the command writes this file."""

    def __init__(
        self, *arguments: Any, panel: Panel = Panel.OPTIONS, result: bool = False, **attributes: Any
    ) -> None:
        shown = attributes.get("default") is not None
        super().__init__(*arguments, **{"show_default": shown} | attributes)
        self.panel = panel.value  # rich-click reads the text
        self.result = result


class Argument(_Parameter, click.Argument):
    """A positional argument of this package's commands."""


def option(*names: str, panel: Panel = Panel.OPTIONS, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option`, as ``click.option`` does, under the heading ``panel`` of ``--help``."""
    return click.option(*names, cls=Option, panel=panel, **attributes)


def file_option(*names: str, help: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option` that takes the path of a file."""
    return option(*names, metavar="FILE", type=click.Path(), help=help, **attributes)


def result_option(*names: str, help: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option` that takes the path of a file that the command writes."""
    return file_option(*names, help=help, result=True, **attributes)


def globs_option(*names: str, help: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option` that takes names or patterns and may be repeated."""
    return option(*names, multiple=True, help=f"{help} (repeatable).", **{"metavar": "GLOB"} | attributes)


def count_option(*names: str, help: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option` that takes a whole number from 1."""
    return option(*names, help=help, **_COUNT | attributes)


def given(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a callback that parses the text of an option, if the user gave one."""
    return lambda _, __, text: None if text is None else parse(text)


def argument(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Argument`, as ``click.argument`` does."""
    return click.argument(*names, cls=Argument, **attributes)


class Bound(click.FloatRange):
    """A finite number within bounds. With NaN or infinity a requirement could never fail, or never be met."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number as click does. Refuse NaN and infinity."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; give one", param, ctx)
        return number


def grouped(
    argument: str,
    record: Callable[..., Any],
    options: Sequence[Callable[[Any], Any]],
    *,
    panel: Panel = Panel.OPTIONS,
) -> Callable[[Decorated], Decorated]:
    """Make a decorator that adds ``options``. The command gets them as ``argument=record(option=…, …)``.

    ``panel`` is the heading of the options that have none.
    """

    def decorate(command: Decorated) -> Decorated:
        names: list[str] = []

        def collect(**arguments: Any) -> Any:
            values = {name: arguments.pop(name) for name in names}
            return command(**{argument: record(**values)}, **arguments)

        collect.__name__, collect.__doc__ = command.__name__, command.__doc__
        wrapped: Any = collect
        for declare in reversed(options):
            wrapped = declare(wrapped)
        for parameter in wrapped.__click_params__:
            names.append(parameter.name)
            if parameter.panel == Panel.OPTIONS.value:
                parameter.panel = panel.value
        wrapped.__click_params__ = [*getattr(command, "__click_params__", []), *wrapped.__click_params__]
        result: Decorated = wrapped
        return result

    return decorate

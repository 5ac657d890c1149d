"""Options and arguments as this package declares them, alone and in groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trt_int8.cli.config import GIVEN, PLACES
from trt_int8.cli.help import Panel

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class _Parameter(click.Parameter):
    """A parameter that a configuration file may set and that takes no empty path."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Keep what was given as it was written, for ``--print-config``."""
        value, source = super().consume_value(ctx, opts)
        if source is not ParameterSource.DEFAULT:
            ctx.meta.setdefault(GIVEN, {})[self.name] = value
        return value, source

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Refuse an empty path, and say in which line of a file a wrong value stands.

        ``--print-config`` comes first, as it is eager, and needs no value.
        """
        try:
            if isinstance(self.type, click.Path) and "" in (
                value if isinstance(value, tuple | list) else [value]
            ):
                # Path("") would be the current folder.
                raise click.BadParameter("the name is empty; is a variable of your script unset?", ctx, self)
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


class Option(_Parameter, click.Option):
    """An option that names its heading in ``--help``."""

    def __init__(self, *arguments: Any, panel: Panel = Panel.OPTIONS, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        #: Of `Panel`, as a text, which is what rich-click reads.
        self.panel = panel.value


class Argument(_Parameter, click.Argument):
    """A positional argument of this package's commands."""


def option(*names: str, panel: Panel = Panel.OPTIONS, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Option`, as ``click.option`` does, under the heading ``panel`` of ``--help``."""
    return click.option(*names, cls=Option, panel=panel, **attributes)


def argument(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an `Argument`, as ``click.argument`` does."""
    return click.argument(*names, cls=Argument, **attributes)


class Bound(click.FloatRange):
    """A finite number within bounds: NaN and infinity would switch a gate off without a word."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number, as click does, and refuse what is not finite."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} would let everything pass or nothing; give a finite number", param, ctx)
        return number


def grouped(
    argument: str,
    record: Callable[..., Any],
    options: Sequence[Callable[[Any], Any]],
    *,
    panel: Panel = Panel.OPTIONS,
) -> Callable[[Decorated], Decorated]:
    """Make a decorator that adds ``options`` and passes them on as ``argument=record(option=…, …)``.

    Args:
        argument: name of the command's parameter.
        record: a dataclass with a field for each option.
        options: click decorators.
        panel: heading of the options that name none.
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

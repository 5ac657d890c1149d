"""Commands as this package declares them: with ``--config``, ``--print-config``, ``--quiet`` and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from trt_int8.cli.config import GIVEN, PLACES
from trt_int8.cli.help import HelpMixin, Panel
from trt_int8.cli.parameters import Option
from trt_int8.cli.wording import PARAMETERS, in_options

#: Where a command leaves, in the context, what was going on when Ctrl-C came.
_WHERE, _AFTER = "trt_int8.where", "trt_int8.after"


class Command(HelpMixin, click.Command):
    """A command with the options that all commands have."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(_common_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and show its progress on stderr; or only print its configuration."""
        from trt_int8 import progress
        from trt_int8.progress.terminal import choose

        ctx.meta[PARAMETERS] = self.params
        if ctx.params.pop("print_config"):
            from trt_int8.cli.config import to_yaml

            click.echo(to_yaml(self.params, ctx.params, ctx.meta.get(GIVEN, {})), nl=False)
            return None
        with progress.show(choose(sys.stderr, quiet=ctx.params.pop("quiet"))) as display:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                ctx.meta[_WHERE], ctx.meta[_AFTER] = display.interrupted, display.finished
                raise


class Group(HelpMixin, click.Group):
    """A group whose commands are `Command`."""

    command_class = Command


def command(name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Declare a `Command`, as ``click.command`` does."""
    return click.command(name, cls=Command)


def group() -> Callable[[Callable[..., Any]], Group]:
    """Declare a `Group`, as ``click.group`` does."""
    return click.group(cls=Group)


def stopped(context: click.Context) -> str:
    """Say after Ctrl-C what was going on, what is lost and what is kept."""
    phase, when = context.meta.get(_WHERE), "while"
    if phase is None:
        phase, when = context.meta.get(_AFTER), "after"
    if phase is None:
        return "Stopped before the work began. No result was written; files that were there are as they were."
    lost = "That work is lost." if phase.lost is None else in_options(phase.lost())
    return f"Stopped {when} {phase}. {lost} No result was written; files that were there are as they were."


def _common_options() -> list[Option]:
    return [
        Option(
            ["--config"],
            panel=Panel.COMMON,
            metavar="FILE",
            type=click.Path(),
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="Take options from a YAML file; the command line wins over it.",
        ),
        Option(
            ["--print-config"],
            panel=Panel.COMMON,
            is_flag=True,
            is_eager=True,
            help="Print such a file, with every option and its value, and do nothing else.",
        ),
        Option(["-q", "--quiet"], panel=Panel.COMMON, is_flag=True, help="Show no progress."),
    ]


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    from trt_int8.cli.config import default_map, places, read_settings
    from trt_int8.errors import ConfigError

    try:
        settings, parameters = read_settings(path), context.command.params
        context.default_map = default_map(settings, parameters, place=path)
        context.meta[PLACES] = places(settings, parameters, place=path)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error

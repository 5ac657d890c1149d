"""What every command gets: ``--config``, ``--print-config``, ``--quiet``, and progress on stderr."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import click

_PRINT, _QUIET, _GIVEN = "trt_int8.print_config", "trt_int8.quiet", "trt_int8.given"
_PLACES = "trt_int8.places"


def equip(command: click.Command) -> click.Command:
    """Add the common options to ``command``, and to the commands of a group; returns it."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            equip(inner)
        return command
    command.params.extend(_options())
    for parameter in command.params:
        _remember_given(parameter)
        _refuse_empty_paths(parameter)
        _name_the_file(parameter)
    callback = command.callback
    assert callback is not None

    @functools.wraps(callback)
    def run(*arguments: Any, **options: Any) -> Any:
        from trt_int8 import progress
        from trt_int8.progress.choose import choose

        context = click.get_current_context()
        if context.meta.get(_PRINT):
            from trt_int8.cli.config import to_yaml

            click.echo(to_yaml(command.params, context.params, context.meta[_GIVEN]), nl=False)
            return None
        with progress.show(choose(sys.stderr, quiet=bool(context.meta.get(_QUIET)))) as display:
            try:
                return callback(*arguments, **options)
            except KeyboardInterrupt:
                context.meta[_WHERE], context.meta[_AFTER] = display.interrupted, display.finished
                raise

    command.callback = run
    return command


_WHERE, _AFTER = "trt_int8.where", "trt_int8.after"


def stopped(context: click.Context) -> str:
    """What to say after Ctrl-C: what was going on, what is lost, what is kept."""
    phase, when = context.meta.get(_WHERE), "while"
    if phase is None:
        phase, when = context.meta.get(_AFTER), "after"
    if phase is None:
        return "Stopped before the work began. No result was written; files that were there are as they were."
    lost = "That work is lost." if phase.lost is None else phase.lost()
    return f"Stopped {when} {phase}. {lost} No result was written; files that were there are as they were."


def _options() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            type=click.Path(),
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="Take options from a YAML file; the command line wins over it.",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            expose_value=False,
            callback=functools.partial(_remember, _PRINT),
            help="Print all options as such a file and do nothing.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=functools.partial(_remember, _QUIET),
            help="Show no progress.",
        ),
    ]


def _remember_given(parameter: click.Parameter) -> None:
    """Keep what was given for ``parameter``, before it is converted, for ``--print-config``."""
    consume = parameter.consume_value

    def consume_value(
        context: click.Context, options: Mapping[str, Any]
    ) -> tuple[Any, click.core.ParameterSource]:
        value, source = consume(context, options)
        context.meta.setdefault(_GIVEN, {})[parameter.name] = value
        return value, source

    parameter.consume_value = consume_value  # type: ignore[method-assign, assignment]  # click has no other hook


def _refuse_empty_paths(parameter: click.Parameter) -> None:
    """An empty name is a variable of a script that was not set; ``Path("")`` would be the current folder."""
    process = parameter.process_value

    def process_value(context: click.Context, value: Any) -> Any:
        # --data has a text of its own.
        if isinstance(parameter.type, click.Path) and parameter.name != "data":
            values = value if isinstance(value, tuple | list) else [value]
            if "" in [item for item in values if isinstance(item, str)]:
                raise click.BadParameter(
                    "the name is empty; is a variable of your script unset?", context, parameter
                )
        return process(context, value)

    parameter.process_value = process_value  # type: ignore[method-assign, assignment]  # click has no other hook


def _name_the_file(parameter: click.Parameter) -> None:
    """Where click refuses a value out of a configuration file, say the line it stands on."""
    process = parameter.process_value

    def process_value(context: click.Context, value: Any) -> Any:
        try:
            return process(context, value)
        except click.BadParameter as error:
            place = context.meta.get(_PLACES, {}).get(parameter.name)
            source = context.get_parameter_source(str(parameter.name))
            if place is None or source is not click.core.ParameterSource.DEFAULT_MAP:
                raise
            raise click.UsageError(f"{place}: {error.message}", context) from error

    parameter.process_value = process_value  # type: ignore[method-assign, assignment]  # click has no other hook


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    from trt_int8.cli.config import default_map, places, read_settings
    from trt_int8.errors import ConfigError

    try:
        settings, parameters = read_settings(path), context.command.params
        context.default_map = default_map(settings, parameters, place=path)
        context.meta[_PLACES] = places(settings, parameters, place=path)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _remember(name: str, context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[name] = value

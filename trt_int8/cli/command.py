"""Commands with ``--config``, ``--print-config``, ``--quiet``, and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trt_int8.cli.config import GIVEN, PLACES
from trt_int8.cli.help import HelpMixin, Panel
from trt_int8.cli.parameters import Option
from trt_int8.cli.wording import PARAMETERS, in_options

#: Keys of ``Context.meta``: the phase that Ctrl-C interrupted, and the last one that was finished.
_WHERE, _AFTER = "trt_int8.where", "trt_int8.after"


class Command(HelpMixin, click.Command):
    """A command with the options that all commands have."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(_common_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and show its progress on stderr, or only print its configuration."""
        from trt_int8 import progress
        from trt_int8.progress.terminal import choose

        ctx.meta[PARAMETERS] = self.params
        if ctx.params.pop("print_config"):
            from trt_int8.cli.config import to_yaml

            click.echo(to_yaml(self.params, ctx.params, ctx.meta.get(GIVEN, {})), nl=False)
            return None
        stream = getattr(sys.stderr, "plain", sys.stderr)
        with progress.show(choose(stream, quiet=ctx.params.pop("quiet"))) as display:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                ctx.meta[_WHERE], ctx.meta[_AFTER] = display.interrupted, display.finished
                raise


class Group(HelpMixin, click.Group):
    """A group of `Command`."""

    command_class = Command


def stopped(context: click.Context, written: Sequence[Path]) -> str:
    """Return the message after Ctrl-C: what was interrupted, what is lost, and what was ``written``."""
    interrupted, finished = context.meta.get(_WHERE), context.meta.get(_AFTER)
    phase = finished if interrupted is None else interrupted
    kept = in_place(written) or "No result was written; existing results were not changed."
    if phase is None:
        return f"Stopped {'at the end' if written else 'before the work began'}. {kept}"
    when = f"Stopped {'after' if interrupted is None else 'while'} {phase}."
    lost = "That work is lost." if phase.lost is None else in_options(phase.lost())
    return f"{when} {kept}" if written and interrupted is None else f"{when} {lost} {kept}"


def in_place(written: Sequence[Path]) -> str:
    """Return a sentence that names the files that were written; empty without any."""
    here = Path.cwd()
    paths = dict.fromkeys(path for path in written if path.exists())
    names = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in paths]
    return f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} written." if names else ""


def _common_options() -> list[Option]:
    config = Option(
        ["--config"],
        panel=Panel.COMMON,
        metavar="FILE",
        type=click.Path(),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="Read options from a YAML file. The command line overrides the file.",
    )
    flag: dict[str, Any] = {"panel": Panel.COMMON, "is_flag": True}
    text = "Print all options and their values as such a file, and exit."
    printed = Option(["--print-config"], is_eager=True, help=text, **flag)
    return [config, printed, Option(["-q", "--quiet"], help="Do not show progress.", **flag)]


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

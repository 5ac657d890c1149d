"""``--help``: options under headings, as plain text in a pipe, with colours and boxes on a terminal."""

from __future__ import annotations

import enum
import inspect
import sys
from typing import Any

import click

from trt_int8.cli.terminal import Styled


class Panel(enum.Enum):
    """The headings of ``--help``, in their order."""

    OPTIONS = "Options"
    MODEL = "Model and result"
    TARGET = "Target"
    QUANTIZATION = "Quantization"
    ACCURACY = "Accuracy"
    REQUIREMENTS = "Requirements"
    SHAPES = "Shapes (optimization profile)"
    CALIBRATION = "Calibration"
    IMPLICIT = "Implicit route (TensorRT 8.6 to 10)"
    SAMPLES = "Samples"
    COMMON = "Common"


class HelpMixin(click.Command):
    """A command with headings in its ``--help``."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.help = "\n".join(map(_folded, inspect.cleandoc(self.help or "").splitlines()))

    def get_help(self, ctx: click.Context) -> str:
        """Return the help text: plain if stdout is no terminal, or the context is without colour."""
        on_terminal = ctx.color is not False and sys.stdout.isatty()
        return Styled(_rich_help(self, ctx)) if on_terminal else super().get_help(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of a group with whole descriptions, then the options under their headings."""
        options: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                options.setdefault(_heading(parameter), []).append(record)
        if isinstance(self, click.Group):
            paragraphs = {name: (each.help or "").split("\n\n")[0] for name, each in self.commands.items()}
            with formatter.section("Commands"):
                formatter.write_dl([(name, " ".join(text.split())) for name, text in paragraphs.items()])
        for panel in Panel:
            if panel.value in options:
                with formatter.section(panel.value):
                    formatter.write_dl(options[panel.value])


def _heading(parameter: click.Parameter) -> str:
    """Return the heading of a parameter. click's own options (``--help``) have no panel."""
    return str(getattr(parameter, "panel", Panel.COMMON.value))


def _folded(line: str, width: int = 76) -> str:
    """Continue a long example on a second line, as a shell would read it."""
    cut = line.rfind(" -", 0, width - 2)
    if len(line) <= width or cut < 0 or not line.startswith("  trt-int8 "):
        return line
    return f"{line[:cut]} \\\n      {line[cut + 1 :]}"


def _rich_help(command: click.Command, ctx: click.Context) -> str:
    """Return the help text as rich-click draws it."""
    import rich_click

    used = {_heading(parameter) for parameter in command.get_params(ctx)}
    panels: list[rich_click.RichPanel[Any, Any]] = [
        rich_click.RichOptionPanel(panel.value) for panel in Panel if panel.value in used
    ]
    config = rich_click.RichHelpConfiguration(
        max_width=100,
        commands_before_options=True,
        options_panel_title=Panel.COMMON.value,
        options_table_column_types=["opt_all_metavar", "help"],
        padding_helptext_first_line=(0, 0, 1, 0),
    )
    same: dict[str, Any] = {"name": command.name, "params": command.params, "help": command.help}
    twin: rich_click.RichCommand
    if isinstance(command, click.Group):
        twin = rich_click.RichGroup(commands=command.commands, panels=panels, **same)
    else:
        twin = rich_click.RichCommand(panels=panels, **same)
    context = rich_click.RichContext(
        twin,
        parent=ctx.parent,
        info_name=ctx.info_name,
        help_option_names=ctx.help_option_names,
        rich_help_config=config,
    )
    return twin.get_help(context)

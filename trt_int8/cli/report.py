"""``trt-int8 report``: list the layers that run in INT8, and explain why the others do not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trt_int8.cli import options
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Bound, argument, count_option, globs_option, option
from trt_int8.cli.terminal import Styled

if TYPE_CHECKING:
    from trt_int8.report import PrecisionReport

_FILE = click.Path(dir_okay=False, path_type=Path)


def _text(result: PrecisionReport, terminal: bool) -> str:
    width = shutil.get_terminal_size().columns if terminal else None
    return Styled(result.to_text(width=width, color=terminal and "NO_COLOR" not in os.environ))


#: Format → the function that makes the text, from the report and whether it goes to a terminal.
_VIEWS: dict[str, Callable[[PrecisionReport, bool], str]] = {
    "text": _text,
    "json": lambda result, _: result.to_json() + "\n",
    "csv": lambda result, _: result.to_csv(),
    "markdown": lambda result, _: result.to_markdown(),
    "html": lambda result, _: result.to_html(),
}


@click.command(cls=Command)
@argument("log", type=_FILE, required=False)
@options.output_format(
    "csv", "markdown", "html", help="Output format; docs/report-schema.md describes the JSON."
)
@option("-o", "--output", type=_FILE, result=True, help="Write to this file instead of the terminal.")
@option("--profile", type=_FILE, help="Times of the layers in JSON, from trtexec --exportProfile.")
@option("--model", type=_FILE, help="The ONNX model of the build, for more exact reasons.")
@option("--cache", type=_FILE, help="The calibration cache of the build, for more exact reasons.")
@option("--diff", "pair", type=_FILE, nargs=2, metavar="OLD NEW", help="Compare two builds. No LOG is given.")
@globs_option(
    "--require",
    panel=Panel.REQUIREMENTS,
    help="Exit with code 1 unless all nodes and layers whose name matches GLOB run in INT8",
)
@option(
    "--min-int8",
    panel=Panel.REQUIREMENTS,
    type=Bound(0, 1),
    metavar="SHARE",
    help="Exit with code 1 if a smaller share (0 to 1) of the nodes that multiply runs in INT8.",
)
@count_option(
    "--max-reformats",
    panel=Panel.REQUIREMENTS,
    type=click.IntRange(min=0),
    help="Exit with code 1 if the engine has more than N reformat layers.",
)
def report(
    log: Path | None,
    form: str,
    output: Path | None,
    profile: Path | None,
    model: Path | None,
    cache: Path | None,
    pair: tuple[Path, Path] | None,
    require: tuple[str, ...],
    min_int8: float | None,
    max_reformats: int | None,
) -> None:
    """List the layers of an engine that run in INT8, and explain why the others do not.

    LOG is the verbose log of a build (TensorRT 4 to 10, TensorRT-RTX; plain or gzip), or layer information in
    JSON (trtexec --exportLayerInfo, engine inspector). With --require, --min-int8 or --max-reformats the exit
    code is 1 if the last build in the log does not meet one of them.

    \b
    Examples:
      trt-int8 report build.log
      trt-int8 report build.log --format html -o report.html
      trt-int8 report build.log --require 'conv*' --min-int8 0.9
      trt-int8 report --diff old.log new.log
    """
    from trt_int8.report import PrecisionReport
    from trt_int8.report.diff import diff
    from trt_int8.report.gate import offences

    options.check_outputs({"report": output})
    if pair:
        if log is not None:
            raise click.UsageError("--diff takes two files; leave LOG out")
        compared = diff(*(PrecisionReport.read(path).last for path in pair))
        if form == "json":
            return options.print_json(compared.to_dict(), output)
        return options.write_or_print(compared.to_text(), output)
    if log is None:
        raise click.UsageError("give a LOG, or --diff OLD NEW")
    result = PrecisionReport.read(log, profile=profile, model=model, cache=cache)
    options.write_or_print(_VIEWS[form](result, output is None and sys.stdout.isatty()), output)
    if require or min_int8 is not None or max_reformats is not None:
        options.exit_unless_met(
            offences(result.last, require=require, min_int8=min_int8, max_reformats=max_reformats)
        )

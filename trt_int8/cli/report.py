"""``trt-int8 report``: which layers run in INT8, and why the others do not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trt_int8.cli.command import command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Bound, argument, option

if TYPE_CHECKING:
    from trt_int8.report import PrecisionReport

_FILE = click.Path(dir_okay=False, path_type=Path)


def _text(result: PrecisionReport, terminal: bool) -> str:
    width = shutil.get_terminal_size().columns if terminal else None
    return result.to_text(width=width, color=terminal and "NO_COLOR" not in os.environ)


#: View → what writes it, given whether it goes to a terminal.
_VIEWS: dict[str, Callable[[PrecisionReport, bool], str]] = {
    "text": _text,
    "json": lambda result, _: result.to_json() + "\n",
    "csv": lambda result, _: result.to_csv(),
    "markdown": lambda result, _: result.to_markdown(),
    "html": lambda result, _: result.to_html(),
}


@command()
@argument("log", type=_FILE, required=False)
@option(
    "--format",
    "form",
    type=click.Choice(list(_VIEWS)),
    default="text",
    show_default=True,
    help="The view; the JSON follows docs/report-schema.md.",
)
@option("-o", "--output", type=_FILE, help="Write the view to this file instead of the terminal.")
@option("--profile", type=_FILE, help="Times of the layers, from trtexec --exportProfile.")
@option("--model", type=_FILE, help="The ONNX model that was built: sharpens the reasons.")
@option("--cache", type=_FILE, help="The calibration cache that was used: sharpens the reasons.")
@option("--diff", "pair", type=_FILE, nargs=2, metavar="OLD NEW", help="Compare two builds instead.")
@option(
    "--require",
    panel=Panel.REQUIREMENTS,
    multiple=True,
    metavar="GLOB",
    help="Fail unless these nodes or layers are in INT8.",
)
@option(
    "--min-int8", panel=Panel.REQUIREMENTS, type=Bound(0, 1), help="Fail below this share of nodes in INT8."
)
@option(
    "--max-reformats",
    panel=Panel.REQUIREMENTS,
    type=click.IntRange(min=0),
    help="Fail with more reformat layers than this.",
)
@click.pass_context
def report(
    context: click.Context,
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
    """Which layers of an engine run in INT8, and why the others do not.

    LOG is the verbose log of a build (TensorRT 4 to 10, TensorRT-RTX; plain or gzip), or layer information in
    JSON (trtexec --exportLayerInfo, engine inspector). With --require, --min-int8 or --max-reformats the exit
    code is 1 if the last build breaks one of them.

    \b
    Examples:
      trt-int8 report build.log
      trt-int8 report build.log --format html -o report.html
      trt-int8 report build.log --require 'conv*' --min-int8 0.9
      trt-int8 report --diff old.log new.log
    """
    from trt_int8.cli.options import check_outputs
    from trt_int8.report import PrecisionReport
    from trt_int8.report.diff import diff
    from trt_int8.report.gate import offences

    if output is not None:
        old, new = pair or (None, None)
        read = {
            "log": log,
            "profile": profile,
            "model": model,
            "cache": cache,
            "old log": old,
            "new log": new,
        }
        named = {what: str(path) for what, path in read.items() if path is not None}
        check_outputs({"report": str(output)}, **named)
    if pair:
        if log is not None:
            raise click.UsageError("--diff takes two files and no LOG besides")
        compared = diff(*(PrecisionReport.read(path).last for path in pair))
        text = (
            json.dumps(compared.to_dict(), indent=2, ensure_ascii=False) + "\n"
            if form == "json"
            else compared.to_text()
        )
        _write(text, output)
        return
    if log is None:
        raise click.UsageError("give a LOG, or --diff OLD NEW")
    result = PrecisionReport.read(log, profile=profile, model=model, cache=cache)
    _write(_VIEWS[form](result, output is None and sys.stdout.isatty()), output)
    if require or min_int8 is not None or max_reformats is not None:
        found = offences(result.last, require=require, min_int8=min_int8, max_reformats=max_reformats)
        for offence in found:
            click.echo(f"not met: {offence}", err=True)
        if found:
            context.exit(1)


def _write(text: str, output: Path | None) -> None:
    from trt_int8.files import atomic

    if output is None:
        click.echo(text, nl=False)
    else:
        atomic.write_text(output, text)

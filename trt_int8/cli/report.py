"""``trt-int8 report``: which layers run in INT8, and why the others do not."""

from __future__ import annotations

import click

from trt_int8.report import PrecisionReport


@click.command()
@click.argument("log", type=click.Path(dir_okay=False))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def report(log: str, form: str) -> None:
    """Which layers of an engine run in INT8, read from the verbose LOG of its build.

    Example: trt-int8 report build.log
    """
    result = PrecisionReport.from_log(log)
    click.echo(result.to_json() if form == "json" else result.to_text(), nl=form == "json")

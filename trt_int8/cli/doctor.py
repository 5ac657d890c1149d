"""``trt-int8 doctor``: show the capabilities of this machine."""

from __future__ import annotations

import click

from trt_int8.cli.command import Command
from trt_int8.cli.parameters import option


@click.command(cls=Command)
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Show the installed packages, the routes to an INT8 engine on this machine, and how to enable others.

    \b
    Examples:
      trt-int8 doctor
      trt-int8 doctor --json
    """
    from trt_int8.doctor import diagnose

    diagnosis = diagnose()
    click.echo(diagnosis.to_json() if as_json else diagnosis.to_text(), nl=as_json)

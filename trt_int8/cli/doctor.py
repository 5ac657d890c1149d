"""``trt-int8 doctor``: what this machine can do."""

from __future__ import annotations

import click

from trt_int8.cli.command import command
from trt_int8.cli.parameters import option


@command()
@option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Show what is installed, which routes to an INT8 engine are open, and what opens the others.

    \b
    Examples:
      trt-int8 doctor
      trt-int8 doctor --json
    """
    from trt_int8.doctor import diagnose

    diagnosis = diagnose()
    click.echo(diagnosis.to_json() if as_json else diagnosis.to_text(), nl=as_json)

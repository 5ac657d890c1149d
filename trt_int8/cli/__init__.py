"""The command line: each command parses, makes one library call, and prints.

Commands are imported when they are used, so that ``--help`` is quick and needs no optional package.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
from typing import Any

import click

from trt_int8.cli.common import equip, stopped
from trt_int8.errors import TrtInt8Error

#: Command → module in this package that holds a click command of that name.
_COMMANDS = (
    "build",
    "cache",
    "calibrate",
    "check-qdq",
    "doctor",
    "evaluate",
    "migrate",
    "quantize",
    "ranges",
    "report",
    "sensitivity",
)


#: What a shell reports for a process that Ctrl-C ended.
_INTERRUPTED = 130


@functools.cache
def _load(name: str) -> click.Command:
    python_name = name.replace("-", "_")
    module = importlib.import_module(f"trt_int8.cli.{python_name}")
    return equip(getattr(module, python_name))


class _Commands(click.Group):
    """Imports a command on first use; turns this package's errors into one clear line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in _COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
        try:
            return super().invoke(ctx)
        except TrtInt8Error as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo(f"\n{stopped(ctx)}", err=True)
            ctx.exit(_INTERRUPTED)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trt_int8")
def main() -> None:
    """From a trained ONNX model and calibration data to a verified INT8 TensorRT engine.

    \b
    trt-int8 build model.onnx --data samples.npz -o model.engine

    Exit codes: 0 all went well, 1 the work failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
    """

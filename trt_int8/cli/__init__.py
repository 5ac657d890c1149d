"""The command line: each command parses, makes one library call, and prints.

Commands are imported when they are used, so that ``--help`` is quick and needs no optional package.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

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
    "report",
)


class _Commands(click.Group):
    """Imports a command on first use; turns this package's errors into one clear line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"trt_int8.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrtInt8Error as error:
            raise click.ClickException(str(error)) from error


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trt_int8")
def main() -> None:
    """From a trained ONNX model and calibration data to a verified INT8 TensorRT engine.

    \b
    trt-int8 build model.onnx --data samples.npz -o model.engine

    Exit codes: 0 all went well, 1 the work failed, 2 the command line is wrong.
    """

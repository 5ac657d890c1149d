"""The command line: each command parses, makes one library call, and prints.

Commands are imported when they are used, so that ``--help`` is quick and needs no optional package.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from trt_int8.cli.command import Group, stopped
from trt_int8.cli.wording import in_options
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


class _Modules(Mapping[str, click.Command]):
    """The commands by name, each imported when somebody asks for it."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in _COMMANDS:
            raise KeyError(name)
        python_name = name.replace("-", "_")
        module = importlib.import_module(f"trt_int8.cli.{python_name}")
        found: click.Command = getattr(module, python_name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Main(Group):
    """The boundary: this package's errors become one clear line, in words of the CLI, and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
        try:
            return super().invoke(ctx)
        except TrtInt8Error as error:
            # Of a BuildError, TensorRT's own lines stay as they are.
            own = str(error.args[0]) if error.args else ""
            raise click.ClickException(str(error).replace(own, in_options(own))) from error
        except KeyboardInterrupt:
            click.echo(f"\n{stopped(ctx)}", err=True)
            ctx.exit(_INTERRUPTED)


@click.group(cls=_Main, commands=_Modules(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trt_int8")
def main() -> None:
    """From a trained ONNX model and calibration data to a verified INT8 TensorRT engine.

    \b
    trt-int8 build model.onnx --data samples.npz -o model.engine

    Exit codes: 0 all went well, 1 the work failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
    """

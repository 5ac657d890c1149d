"""The command line. A command parses its options, makes one library call, and prints the result.

Commands are imported when they are used: ``--help`` is quick and needs no optional package.
"""

from __future__ import annotations

import atexit
import gc
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import click

from trt_int8.cli import terminal
from trt_int8.cli.command import Group, in_place, stopped
from trt_int8.cli.wording import in_options, search_command
from trt_int8.errors import PlanMismatchError, TrtInt8Error
from trt_int8.files.atomic import recorded
from trt_int8.printable import printable

#: Commands; each stands in the module of its name, with an underscore for a dash.
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
#: Exit code that a shell reports for a process that Ctrl-C ended.
_INTERRUPTED = 130


class _Modules(Mapping[str, click.Command]):
    """The commands by name. A command is imported on first access."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in _COMMANDS:
            raise KeyError(name)
        python_name = name.replace("-", "_")
        module = importlib.import_module(f"trt_int8.cli.{python_name}")
        return cast("click.Command", getattr(module, python_name))

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Main(Group):
    """The boundary: an error of this package becomes one line that names options, and exit code 1."""

    def main(self, *arguments: Any, **attributes: Any) -> Any:
        with terminal.guarded():
            return super().main(*arguments, **attributes)

    def make_context(self, *arguments: Any, **attributes: Any) -> click.Context:
        with _printable_usage_errors():
            return super().make_context(*arguments, **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        atexit.register(gc.freeze)  # with numba's objects the last collection takes 0.4 s
        with recorded() as written:
            try:
                with _printable_usage_errors():
                    return super().invoke(ctx)
            except TrtInt8Error as error:
                # Lines of TensorRT in a BuildError are not translated.
                own = str(error.args[0]) if error.args else ""
                text = "\n".join([printable(in_options(own)), *str(error).removeprefix(own).split("\n")[1:]])
                if isinstance(error, PlanMismatchError):
                    text += search_command(error.placement, error.budget)
                raise click.ClickException(
                    "\n".join(filter(None, [text, printable(in_place(written))]))
                ) from error
            except (MemoryError, RecursionError) as error:
                raise click.ClickException(_exhausted(error)) from error
            except KeyboardInterrupt:
                click.echo(f"\n{printable(stopped(ctx, written))}", err=True)
                ctx.exit(_INTERRUPTED)


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    """Keep arguments that click repeats in an error on its one line."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # final in later versions of click
        raise


def _exhausted(error: MemoryError | RecursionError) -> str:
    """Say what ran out and what to do. Other unexpected errors are bugs, and keep their traceback."""
    detail = f" ({' '.join(str(error).split())})" if str(error) else ""
    if isinstance(error, MemoryError):
        return (
            f"memory ran out{detail}; give smaller inputs, more memory, or a smaller --batch-size or "
            "--limit where the command has them"
        )
    return f"an input is nested too deep to be processed{detail}; give a flatter one"


@click.group(cls=_Main, commands=_Modules(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trt_int8")
def main() -> None:
    """Build a verified INT8 TensorRT engine from a trained ONNX model and calibration data.

    \b
    trt-int8 build model.onnx --data samples.npz -o model.engine

    Exit codes: 0 success, 1 the work failed or a requirement is not met, 2 the command line is wrong, 130
    stopped by Ctrl-C.
    """

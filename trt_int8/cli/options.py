"""Options that several commands share, and how commands print their results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trt_int8.calibration.thresholds import names
from trt_int8.cli import terminal
from trt_int8.cli.config import GIVEN, key
from trt_int8.cli.data_options import Data, DataOptions, data
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Decorated, argument, file_option, grouped, option, result_option
from trt_int8.cli.terminal import say
from trt_int8.cli.wording import in_options
from trt_int8.printable import json_text

if TYPE_CHECKING:
    from trt_int8.graph.shapes import ShapeRange
    from trt_int8.quantization import Quantized
    from trt_int8.ranges import Ranges

__all__ = ["Data", "DataOptions", "data"]
model = argument("model", type=click.Path())
cache = file_option("--cache", panel=Panel.MODEL, help="Read the dynamic ranges from this calibration cache.")


def _algorithm(default: str | None, shown: str) -> Callable[[Decorated], Decorated]:
    return option(
        "--algorithm",
        panel=Panel.CALIBRATION,
        type=click.Choice(names()),
        default=default,
        show_default=shown,
        help="Method that computes the dynamic range of a tensor from its histogram. auto: take for each "
        "tensor the best method, measured on held-back batches.",
    )


algorithm = _algorithm("entropy", "entropy")
#: For commands that quantize: the default depends on the route (`trt_int8.calibration.thresholds.EXPLICIT`).
algorithm_of_route = _algorithm(None, "mse for Q/DQ nodes, entropy for TensorRT's calibrators")
target = option(
    "--target",
    panel=Panel.TARGET,
    metavar="TARGET",
    help="What the engine is for. rtx:sm89 (or sm75, sm80, …): TensorRT-RTX, built ahead of time for GPUs of "
    "this compute capability. tensorrt: TensorRT. current: the GPU in this machine. The placement of Q/DQ "
    "pairs follows from the target. [default: tensorrt if TensorRT is installed and there is a GPU, else "
    "rtx:sm89]",
)
bias_correction = option(
    "--bias-correction/--no-bias-correction",
    panel=Panel.QUANTIZATION,
    default=None,
    help="Correct biases for the mean error that quantization introduces. The correction is kept only if it "
    "improves the outputs on held-back samples. [default: on with --data, if Q/DQ pairs are inserted]",
)


def output(what: str) -> Callable[[Decorated], Decorated]:
    """Declare ``-o``, which is required."""
    return result_option("-o", "--output", panel=Panel.MODEL, required=True, help=what)


def output_format(
    *choices: str, panel: Panel = Panel.OPTIONS, help: str = "Output format."
) -> Callable[[Decorated], Decorated]:
    """Declare ``--format``: text (default), json, and ``choices``. The command gets ``form``."""
    kinds = click.Choice(["text", "json", *choices])
    return option("--format", "form", panel=panel, type=kinds, default="text", help=help)


@dataclass(frozen=True)
class ShapeOptions:
    """Values of the shape options, of which some are trtexec's."""

    shapes: tuple[str, ...]
    min_shapes: str | None
    opt_shapes: str | None
    max_shapes: str | None
    rename_dims: bool

    def parse(self) -> dict[str, ShapeRange]:
        """Return the min, opt and max shape of each input. Without shape options the result is empty."""
        from trt_int8.errors import ShapeError
        from trt_int8.graph.shapes import combine_shapes, parse_shapes

        trtexec = (self.min_shapes, self.opt_shapes, self.max_shapes)
        if self.shapes and any(trtexec):
            raise click.UsageError("give either --shapes, or --minShapes, --optShapes and --maxShapes")
        try:
            return parse_shapes(self.shapes) if self.shapes else combine_shapes(*trtexec)
        except ShapeError as error:
            raise click.UsageError(str(error)) from error


_SHAPES = [
    option(
        "--shapes",
        multiple=True,
        metavar="NAME:SHAPES",
        help="Optimization profile of a dynamic input: its min, opt and max shape, as in "
        "x:1x3x224x224,8x3x224x224,32x3x224x224. One shape stands for all three. Repeat the option for each "
        "dynamic input.",
    ),
    *(
        option(f"--{bound}-shapes", f"--{bound}Shapes", hidden=True, metavar="NAME:SHAPE,…")
        for bound in ("min", "opt", "max")
    ),
    option(
        "--rename-dims",
        is_flag=True,
        help="Rename symbolic dimensions: if axes share a name and get different sizes in --shapes, give "
        "each axis its own name.",
    ),
]
shapes = grouped("shapes", ShapeOptions, _SHAPES, panel=Panel.SHAPES)


def require_source(data: DataOptions, cache: str | None, **to_calibrate: object) -> None:
    """Refuse a command without ``--data`` and ``--cache``, and ``--cache`` with options for calibration."""
    if not data.given and cache is None:
        raise click.UsageError(
            "give --data SOURCE (samples to calibrate with) or --cache FILE (dynamic ranges)"
        )
    given = [name for name, value in to_calibrate.items() if value is not None]
    if cache is not None and given:
        raise click.UsageError(
            f"--{given[0].replace('_', '-')} is for calibration, and --cache holds ranges; leave one out"
        )


def check_outputs(outputs: Mapping[str, str | Path | None]) -> None:
    """Check before the work that results can be written and overwrite no file that the command reads."""
    context = click.get_current_context()
    written = {what: path for what, path in outputs.items() if path is not None}
    read = dict(_inputs(context))
    if "model" in read:  # it may have external weights
        from trt_int8.graph.save import check_saving as check
    else:
        from trt_int8.files.outputs import check_outputs as check
    check(written, inputs=read)
    _keep_images(written, read.get("data"))
    terminal.keep_stdout_for_results(*written.values())


def _inputs(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the files that the parameters of a command name, the configuration file included."""
    given = context.meta.get(GIVEN, {})
    for parameter in context.command.params:
        value = given.get(parameter.name)
        if value is None or getattr(parameter, "result", False) or not isinstance(parameter.type, click.Path):
            continue
        values = value if isinstance(value, tuple | list) else [value]
        for number, text in enumerate(map(str, values), start=1):
            what = key(parameter).replace("-", " ") + (f" {number}" if len(values) > 1 else "")
            yield what, "/dev/stdin" if text == "-" else _source_file(text)


def _source_file(text: str) -> str:
    """Return the file of MODULE:FUNCTION or file.py:function, without importing it; else ``text``."""
    module, separator, _ = text.rpartition(":")
    places = [module, *(os.path.join(p, *module.split(".")) + ".py" for p in (os.curdir, *sys.path))]
    return next((place for place in places if os.path.isfile(place)), text) if separator else text


def _keep_images(written: Mapping[str, str | Path], data: str | None) -> None:
    """Refuse to overwrite an image of the folder or pattern that is read."""
    from trt_int8.batches.images import SUFFIXES, find_images, means_images
    from trt_int8.errors import DataError, OutputError

    for what, path in written.items():
        if data is None or Path(path).suffix.lower() not in SUFFIXES or not os.path.exists(path):
            continue
        with suppress(DataError):  # opening the data says what is wrong
            images = find_images(data) if means_images(data) else ()
            if any(os.path.samefile(path, image) for image in images if image.exists()):
                raise OutputError(
                    f"the {what} would overwrite {path}, an image of the data {data}; choose another name"
                )


def read_ranges(cache: str | None) -> Ranges | None:
    """Return the dynamic ranges in a calibration cache, None without one."""
    from trt_int8.ranges import CalibrationCache

    return None if cache is None else CalibrationCache.read(cache).ranges()


def tell(line: str) -> None:
    """Print a line of the library, with options in place of argument names; a warning goes to stderr."""
    say(in_options(line), err=line.startswith("WARNING: "))


def report_skipped(quantized: Quantized) -> None:
    """Print on stderr the notes, and the nodes that were not quantized, with reasons."""
    for note in quantized.notes:
        say(f"note: {in_options(note)}", err=True)
    for entry in quantized.skipped:
        say(f"not quantized: {in_options(str(entry))}", err=True)


def print_json(document: object, output: str | Path | None = None) -> None:
    """Print a JSON document, or write it to the file ``output``."""
    write_or_print(json_text(document, indent=2) + "\n", output)


def write_or_print(text: str, output: str | Path | None) -> None:
    """Write ``text`` to a file, or print it if ``output`` is None."""
    from trt_int8.files import atomic

    if output is None:
        click.echo(text, nl=False)
    else:
        atomic.write_text(output, text)


def exit_unless_met(failures: Sequence[str]) -> None:
    """Print on stderr the requirements that are not met. If there are any, exit with code 1."""
    for failure in failures:
        say(f"not met: {failure}", err=True)
    if failures:
        click.get_current_context().exit(1)

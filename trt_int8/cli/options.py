"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from trt_int8.cli.data_options import Data, DataOptions, data
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Decorated, argument, option
from trt_int8.cli.shape_options import ShapeOptions, shapes
from trt_int8.cli.wording import in_options

if TYPE_CHECKING:
    from trt_int8.quantization import Quantized

__all__ = [
    "Data",
    "DataOptions",
    "ShapeOptions",
    "algorithm",
    "algorithm_of_route",
    "bias_correction",
    "cache",
    "data",
    "model",
    "output",
    "shapes",
    "target",
]

model = argument("model", type=click.Path())
cache = option(
    "--cache",
    panel=Panel.MODEL,
    metavar="FILE",
    type=click.Path(),
    help="Calibration cache to take ranges from.",
)


def _algorithm(default: str | None, shown: str) -> Callable[[Decorated], Decorated]:
    from trt_int8.calibration.thresholds import names

    return option(
        "--algorithm",
        panel=Panel.CALIBRATION,
        type=click.Choice(names()),
        default=default,
        show_default=shown,
        help="How a range is chosen from what calibration saw. auto: for each tensor the best on held-out "
        "batches.",
    )


algorithm = _algorithm("entropy", "entropy")
#: For commands that may quantize by themselves: `trt_int8.calibration.thresholds.EXPLICIT` there.
algorithm_of_route = _algorithm(None, "mse for Q/DQ nodes, entropy for TensorRT's calibrators")
target = option(
    "--target",
    panel=Panel.TARGET,
    metavar="TARGET",
    help="What the engine is for: rtx:sm89 (sm75, sm80, …: built ahead of time by TensorRT-RTX), tensorrt, "
    "or current for the GPU in this machine. Placement follows from it. [default: TensorRT where it is "
    "installed and there is a GPU, else rtx:sm89]",
)
bias_correction = option(
    "--bias-correction/--no-bias-correction",
    panel=Panel.QUANTIZATION,
    default=None,
    help="Correct biases for the mean error that quantization introduces. Kept only if held-back samples "
    "improve. [default: with --data, where Q/DQ pairs are inserted]",
)


def output(what: str) -> Callable[[Decorated], Decorated]:
    """``-o``, required."""
    return option(
        "-o", "--output", panel=Panel.MODEL, required=True, type=click.Path(), metavar="FILE", help=what
    )


def require_source(data: DataOptions, cache: str | None, **to_calibrate: object) -> None:
    """Ranges come from data or from a cache; then options ``to_calibrate`` would go without effect."""
    if not data.given and cache is None:
        raise click.UsageError(
            "give --data SOURCE (samples to calibrate with) or --cache FILE (to take ranges from)"
        )
    given = [name for name, value in to_calibrate.items() if value is not None]
    if cache is not None and given:
        raise click.UsageError(
            f"--{given[0].replace('_', '-')} is for calibrating, and --cache holds ranges; leave one out"
        )


def check_outputs(outputs: dict[str, str], **inputs: str | None) -> None:
    """Before the work: results have somewhere to go and overwrite nothing that is read."""
    from trt_int8.files.outputs import check_outputs as check

    check(outputs, inputs={what: path for what, path in inputs.items() if path is not None})


def tell(line: str) -> None:
    """Print a line of the library, with options for the arguments that it names."""
    click.echo(in_options(line))


def report_skipped(quantized: Quantized) -> None:
    """Say on stderr which nodes stay float, and why, and what else there is to know."""
    for note in quantized.notes:
        click.echo(f"note: {in_options(note)}", err=True)
    for entry in quantized.skipped:
        click.echo(f"stays float: {in_options(str(entry))}", err=True)

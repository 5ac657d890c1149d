"""Options that several commands share, and what they open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from trt_int8.cli.grouping import Command, grouped
from trt_int8.cli.shape_options import ShapeOptions as ShapeOptions
from trt_int8.cli.shape_options import shapes as shapes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    from trt_int8.batches import Samples
    from trt_int8.model.shapes import Shapes
    from trt_int8.quantization import Quantized

#: Samples in a batch where neither the options nor the model say.
DEFAULT_BATCH = 32

model = click.argument("model", type=click.Path())
cache = click.option(
    "--cache", metavar="FILE", type=click.Path(), help="Calibration cache to take ranges from."
)
algorithm = click.option(
    "--algorithm",
    type=click.Choice(["entropy", "minmax", "percentile", "mse"]),
    default="entropy",
    show_default=True,
    help="How a range is chosen from what calibration saw.",
)


def output(what: str) -> Callable[[Command], Command]:
    """``-o``, required."""
    return click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help=what)


@dataclass(frozen=True)
class DataOptions:
    """What the data options say."""

    data: str | None
    batch_size: int | None
    limit: int | None
    last: str
    shuffle: int | None

    def open(self, loaded: onnx.ModelProto, shapes: Shapes | None = None) -> Data:
        """Open the file of ``--data`` for the inputs of ``loaded``, to be batched as ``shapes`` want it."""
        from trt_int8.batches import open_arrays
        from trt_int8.model.inputs import fixed_batch, input_specs

        assert self.data is not None
        specs = input_specs(loaded)
        fixed = fixed_batch(specs)
        if fixed is not None and self.batch_size not in (None, fixed):
            raise click.UsageError(
                f"--batch-size is {self.batch_size} and the model's batch size is fixed at {fixed}; "
                "leave the option out"
            )
        best = next((shape.best[0] for shape in (shapes or {}).values() if shape.best), None)
        batch_size = fixed or self.batch_size or best or DEFAULT_BATCH
        return Data(open_arrays(self.data, inputs=specs), batch_size, self)


@dataclass(frozen=True)
class Data:
    """Opened samples and how to batch them."""

    samples: Samples
    batch_size: int
    options: DataOptions

    def batches(self) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
        from trt_int8.batches import batched

        o = self.options
        return batched(self.samples, self.batch_size, last=o.last, limit=o.limit, shuffle=o.shuffle)  # type: ignore[arg-type]


_DATA_OPTIONS = [
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Samples in a batch (default: what the model fixes, else 32).",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use N samples at most."),
    click.option(
        "--last",
        type=click.Choice(["keep", "drop", "pad"]),
        default="keep",
        show_default=True,
        help="What to do with a short last batch.",
    ),
    click.option(
        "--shuffle", type=click.IntRange(min=0), metavar="SEED", help="Take the samples in a random order."
    ),
]


def data(*, required: bool) -> Callable[[Command], Command]:
    """``--data`` and what goes with it; the command gets one argument ``data``, a `DataOptions`."""
    source = click.option(
        "--data",
        required=required,
        metavar="FILE",
        type=click.Path(),
        help="Samples: .npz with a key per input, or .npy for a model with one input. "
        "The first axis counts them.",
    )
    return grouped("data", DataOptions, [source, *_DATA_OPTIONS])


def require_one(data: DataOptions, cache: str | None) -> None:
    """Ranges come from data or from a cache."""
    if (data.data is None) == (cache is None):
        raise click.UsageError(
            "give --data FILE (to calibrate with) or --cache FILE (to take ranges from): one, not both"
        )


def check_outputs(outputs: dict[str, str], **inputs: str | None) -> None:
    """Before the work: results have somewhere to go and overwrite nothing that is read."""
    from trt_int8.outputs import check_outputs as check

    check(outputs, inputs={what: path for what, path in inputs.items() if path is not None})


def report_skipped(quantized: Quantized) -> None:
    """Say on stderr which nodes stay float, and why, and what else there is to know."""
    for note in quantized.notes:
        click.echo(f"note: {note}", err=True)
    for entry in quantized.skipped:
        click.echo(f"stays float: {entry}", err=True)

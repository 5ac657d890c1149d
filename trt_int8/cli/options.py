"""Options that several commands share, and what they open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    from trt_int8.batches import Samples
    from trt_int8.quantization import Quantized

Command = TypeVar("Command", bound=Callable[..., Any])

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

    def open(self, loaded: onnx.ModelProto) -> Data:
        """Open the file of ``--data`` for the inputs of ``loaded``."""
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
        return Data(open_arrays(self.data, inputs=specs), fixed or self.batch_size or 32, self)


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


def data(*, required: bool) -> Callable[[Command], Command]:
    """``--data`` and what goes with it; the command gets one argument ``data``, a `DataOptions`."""

    def decorate(command: Command) -> Command:
        def collect(**arguments: Any) -> Any:
            names = ("data", "batch_size", "limit", "last", "shuffle")
            return command(data=DataOptions(**{name: arguments.pop(name) for name in names}), **arguments)

        collect.__name__, collect.__doc__ = command.__name__, command.__doc__
        collect.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        wrapped: Any = collect
        for option in reversed(_DATA_OPTIONS):
            wrapped = option(wrapped)
        source = click.option(
            "--data",
            required=required,
            metavar="FILE",
            type=click.Path(),
            help="Samples: .npz with a key per input, or .npy for a model with one input. "
            "The first axis counts them.",
        )
        result: Command = source(wrapped)
        return result

    return decorate


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

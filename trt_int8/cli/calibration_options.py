"""How to calibrate: memory, checkpoints, Dask workers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trt_int8.cli.data_options import Data
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import grouped, option

if TYPE_CHECKING:
    from trt_int8.pipeline import CalibrationOptions as PipelineOptions

_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class CalibrationArguments:
    """What the options say."""

    max_memory: int | None
    checkpoint: str | None
    dask: str | None
    workers: int | None

    def __post_init__(self) -> None:
        if self.dask is not None and self.workers is not None:
            raise click.UsageError("give either --dask (workers that run) or --workers (start some here)")
        if self.distributed and self.checkpoint is not None:
            raise click.UsageError(
                "--checkpoint is for calibration in one process; with --dask or --workers a worker that dies "
                "costs its shard only"
            )

    @property
    def distributed(self) -> bool:
        return self.dask is not None or self.workers is not None

    def outputs(self) -> dict[str, str]:
        """Files that calibration writes."""
        return {} if self.checkpoint is None else {"checkpoint": self.checkpoint}

    def pipeline(self) -> PipelineOptions:
        """The same for the library."""
        from trt_int8.pipeline import CalibrationOptions as PipelineOptions

        return PipelineOptions(
            max_memory=self.max_memory, checkpoint=self.checkpoint, scheduler=self.dask, workers=self.workers
        )

    def telling(self, data: Data) -> Data:
        """``data`` that says on Ctrl-C what is lost."""
        return replace(data, lost=self._lost)

    def _lost(self) -> str:
        """What Ctrl-C costs."""
        if self.checkpoint is None:
            return "That work is lost; with --checkpoint FILE a run can go on from where another one stopped."
        if not Path(self.checkpoint).exists():
            from trt_int8.calibration.checkpoint import INTERVAL

            return (
                f"That work is lost: the first checkpoint ({self.checkpoint}) comes after {INTERVAL} batches."
            )
        return (
            f"What was counted up to the last checkpoint is kept in {self.checkpoint}: run the same command "
            "again to go on from there."
        )


def _memory(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    size = float(match[1]) * _UNITS[match[2]] if match else 0
    if size <= 0:
        raise click.BadParameter(f"{text!r} is no amount of memory; write 800M or 2G")
    return int(size)


calibration = grouped(
    "calibration",
    CalibrationArguments,
    [
        option(
            "--max-memory",
            metavar="SIZE",
            callback=_memory,
            help="Stay within this memory (800M, 2G), if need be in several passes.",
        ),
        option(
            "--checkpoint",
            metavar="FILE",
            type=click.Path(),
            help="Save what was counted on the way; where FILE exists, go on from there.",
        ),
        option(
            "--dask",
            metavar="ADDRESS",
            help="On the workers of this Dask scheduler, such as tcp://host:8786.",
        ),
        option("--workers", type=click.IntRange(min=1), metavar="N", help="On N Dask workers, started here."),
    ],
    panel=Panel.CALIBRATION,
)

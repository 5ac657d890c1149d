"""How to calibrate: memory, checkpoints, Dask workers."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trt_int8.cli.grouping import grouped
from trt_int8.cli.opened_data import Data

if TYPE_CHECKING:
    import onnx

    from trt_int8.calibration import Calibration
    from trt_int8.remedies.split import Split

_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class CalibrationOptions:
    """What the options say."""

    max_memory: int | None
    checkpoint: str | None
    checkpoint_every: int
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

    def run(
        self,
        loaded: onnx.ModelProto,
        data: Data | Split,
        *,
        algorithm: str,
        tensors: Collection[str] | None = None,
    ) -> Calibration:
        """Calibrate as the options say."""
        from trt_int8.calibration import calibrate
        from trt_int8.calibration.calibration import AUTO
        from trt_int8.remedies.split import EVERY

        if algorithm == AUTO and isinstance(data, Data):
            data = data.in_parts(EVERY)  # it holds batches out
        return calibrate(
            loaded,
            data.readable() if self.distributed else self._telling(data),
            algorithm=algorithm,
            tensors=tensors,
            max_memory=self.max_memory,
            checkpoint=self.checkpoint,
            checkpoint_every=self.checkpoint_every,
            scheduler=self.dask,
            workers=self.workers,
        )

    def _telling(self, data: Data | Split) -> Data | Split:
        """``data`` that says on Ctrl-C what is lost."""
        if isinstance(data, Data):
            return replace(data, lost=self._lost)
        if isinstance(data.batches, Data):
            return replace(data, batches=replace(data.batches, lost=self._lost))
        return data

    def _lost(self) -> str:
        """What Ctrl-C costs."""
        if self.checkpoint is None:
            return "That work is lost; with --checkpoint FILE a run can go on from where another one stopped."
        if not Path(self.checkpoint).exists():
            return (
                f"That work is lost: the first checkpoint ({self.checkpoint}) comes after "
                f"{self.checkpoint_every} batches (--checkpoint-every)."
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
    CalibrationOptions,
    [
        click.option(
            "--max-memory",
            metavar="SIZE",
            callback=_memory,
            help="Calibration: stay within this memory (800M, 2G), if need be in several passes.",
        ),
        click.option(
            "--checkpoint",
            metavar="FILE",
            type=click.Path(),
            help="Calibration: save what was counted on the way; where FILE exists, go on from there.",
        ),
        click.option(
            "--checkpoint-every",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            metavar="N",
            help="Calibration: batches between two checkpoints.",
        ),
        click.option(
            "--dask",
            metavar="ADDRESS",
            help="Calibration: on the workers of this Dask scheduler, such as tcp://host:8786.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Calibration: on N Dask workers, started here.",
        ),
    ],
)

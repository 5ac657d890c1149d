"""Options of a calibration on the CPU: memory, checkpoints, Dask workers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import click

from trt_int8.cli.data_options import Data
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import count_option, given, grouped, option, result_option

_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class CalibrationArguments:
    """Values of the calibration options; ``max_memory`` in bytes."""

    max_memory: int | None
    checkpoint: str | None
    dask: str | None
    workers: int | None

    def __post_init__(self) -> None:
        if self.dask is not None and self.workers is not None:
            raise click.UsageError("give either --dask (existing cluster) or --workers (local workers)")
        if self.distributed and self.checkpoint is not None:
            raise click.UsageError(
                "--checkpoint does not work with --dask and --workers; there, only the shard of a worker "
                "that fails is computed again"
            )

    @property
    def distributed(self) -> bool:
        return self.dask is not None or self.workers is not None

    def telling(self, data: Data) -> Data:
        """Return ``data`` with the message that Ctrl-C prints about lost work."""
        return replace(data, lost=self._lost)

    def _lost(self) -> str:
        if self.checkpoint is None:
            return "That work is lost; with --checkpoint FILE an interrupted run can be resumed."
        if not os.path.exists(self.checkpoint):
            from trt_int8.calibration.checkpoint import INTERVAL

            first = f"the first checkpoint ({self.checkpoint}) is written after {INTERVAL} batches"
            return f"That work is lost: {first}."
        return (
            f"The histograms up to the last checkpoint are in {self.checkpoint}: run the same command again "
            "to resume from there."
        )


def _memory(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    size = float(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size < 2**63:
        raise click.BadParameter(f"{text!r:.80} is not an amount of memory; write 800M or 2G")
    return int(size)


calibration = grouped(
    "calibration",
    CalibrationArguments,
    [
        option(
            "--max-memory",
            metavar="SIZE",
            callback=given(_memory),
            help="Memory limit, such as 800M or 2G (without a unit: MiB). If it is too little for one pass, "
            "calibration runs over the data several times.",
        ),
        result_option(
            "--checkpoint", help="Save the histograms to FILE on the way. If FILE exists, resume from it."
        ),
        option(
            "--dask",
            metavar="ADDRESS",
            help="Calibrate on the workers of this Dask scheduler, such as tls://host:8786, with the "
            "certificates of Dask's configuration. With tcp://, whoever can reach its ports can run code "
            "as the workers and as you.",
        ),
        count_option(
            "--workers",
            help="Calibrate on N Dask workers, started on this machine. No other user can reach them.",
        ),
    ],
    panel=Panel.CALIBRATION,
)

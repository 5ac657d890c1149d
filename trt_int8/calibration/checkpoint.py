"""What was counted so far, in a file: a calibration that was killed goes on from there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms, load_histograms_and_extra, save_histograms
from trt_int8.errors import CalibrationError

#: Batches from one checkpoint to the next.
INTERVAL = 64


@dataclass(frozen=True)
class Position:
    """How far a calibration has come.

    Attributes:
        done: histograms of tensors whose passes are over.
        current: histograms of the pass that goes on.
        batches: batches counted in the pass that goes on.
        digest: `trt_int8.batches.items.DataDigest` of those.
        samples: how many samples they hold, or the last pass held.
        data: digest of all the data, once a pass is over.
    """

    done: Mapping[str, Histogram] = field(default_factory=dict)
    current: Mapping[str, Histogram] = field(default_factory=dict)
    batches: int = 0
    digest: str = ""
    samples: int = 0
    data: str = ""


class Checkpoint:
    """The file of one calibration.

    Args:
        path: written in one step each time, so that it is whole whenever the process dies.
        identity: what must be the same for the counts to fit (``{"model": hash, …}``).
    """

    def __init__(self, path: str | os.PathLike[str], *, identity: Mapping[str, str]) -> None:
        self.path = Path(path)
        self._identity = dict(identity)

    @property
    def interval(self) -> int:
        """Batches from one save to the next."""
        return INTERVAL

    def save(self, position: Position) -> None:
        """Replace the file.

        Raises:
            OutputError: it cannot be written.
        """
        extra = {
            "checkpoint": self._identity,
            "done": list(position.done),
            "batches": position.batches,
            "digest": position.digest,
            "data": position.data,
        }
        counted = {**position.done, **position.current}
        save_histograms(Histograms(counted, samples=position.samples), self.path, extra=extra)

    def load(self) -> Position | None:
        """Where to go on; None if there is no file.

        Raises:
            CalibrationError: damaged, no checkpoint, or one of another model or other options.
        """
        if not self.path.exists():
            return None
        histograms, extra = load_histograms_and_extra(
            self.path, fix="delete it to start anew, or give another name"
        )
        if "checkpoint" not in extra:
            raise CalibrationError(
                f"{self.path}: holds histograms, but is no checkpoint; choose another name"
            )
        for what in {**extra["checkpoint"], **self._identity}:
            was, now = extra["checkpoint"].get(what, "not given"), self._identity.get(what, "not given")
            if was != now:
                raise self.refusal(f"{what} {_short(was)}, now {_short(now)}")
        done = {name: histograms.tensors[name] for name in extra["done"]}
        current = {name: found for name, found in histograms.tensors.items() if name not in done}
        return Position(done, current, extra["batches"], extra["digest"], histograms.samples, extra["data"])

    def refusal(self, difference: str) -> CalibrationError:
        """The error for a checkpoint that does not fit."""
        return CalibrationError(
            f"{self.path}: this checkpoint belongs to another calibration ({difference}); delete it to start "
            "anew, or give the model, data and options it was made with"
        )


def _short(value: str) -> str:
    """Hashes are shown by their beginning."""
    return value[:12] + "…" if len(value) == 64 else value

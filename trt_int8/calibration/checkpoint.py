"""Save the histograms so far in a file, so that an interrupted calibration can resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms, load_histograms_and_extra, to_bytes
from trt_int8.errors import CalibrationError
from trt_int8.files import atomic

#: Batches from one checkpoint to the next.
INTERVAL = 64


@dataclass(frozen=True)
class Position:
    """The progress of a calibration.

    Attributes:
        done: histograms of tensors whose passes are complete.
        current: histograms of the current pass.
        batches: batches counted in the current pass.
        digest: `trt_int8.batches.items.DataDigest` of those.
        samples: the number of samples in them, or in the last complete pass.
        data: digest of all the data, after the first complete pass.
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
        path: the file, replaced in one step each time, so that it is always complete.
        identity: what must be the same to resume (``{"model": hash, …}``).
    """

    def __init__(self, path: str | os.PathLike[str], *, identity: Mapping[str, str]) -> None:
        self.path = Path(path)
        self._identity = dict(identity)

    @property
    def interval(self) -> int:
        """Batches from one save to the next."""
        return INTERVAL

    def save(self, position: Position) -> None:
        """Replace the file."""
        extra = {"checkpoint": self._identity, "done": list(position.done), "batches": position.batches}
        extra |= {"digest": position.digest, "data": position.data}
        counted = {**position.done, **position.current}
        content = to_bytes(Histograms(counted, samples=position.samples), extra=extra)
        atomic.write_bytes(self.path, content, result=False)

    def load(self) -> Position | None:
        """Read the position to resume from; None if there is no file.

        Raises:
            CalibrationError: the file is damaged, not a checkpoint, or one of another model or other options.
        """
        if not os.path.exists(self.path):
            return None
        fix = "give another name, or delete it if it is a damaged checkpoint"
        histograms, extra = load_histograms_and_extra(self.path, fix=fix)
        if "checkpoint" not in extra:
            raise CalibrationError(f"{self.path}: a histogram file, not a checkpoint; choose another name")
        if not _is_whole(extra, histograms):
            raise CalibrationError(f"{self.path}: a damaged checkpoint; {fix}")
        for what in {**extra["checkpoint"], **self._identity}:
            was, now = extra["checkpoint"].get(what, "not given"), self._identity.get(what, "not given")
            if was != now:
                raise self.refusal(f"{what} {_short(was)}, now {_short(now)}")
        done = {name: histograms.tensors[name] for name in extra["done"]}
        current = {name: found for name, found in histograms.tensors.items() if name not in done}
        return Position(done, current, extra["batches"], extra["digest"], histograms.samples, extra["data"])

    def refusal(self, difference: str) -> CalibrationError:
        """Return the error for a checkpoint that does not fit."""
        return CalibrationError(
            f"{self.path}: this checkpoint belongs to another calibration ({difference}); delete it to start "
            "again, or give the model, data and options it was made with"
        )


def _is_whole(extra: Mapping[str, Any], histograms: Histograms) -> bool:
    """Return whether ``extra`` has what `Checkpoint.save` writes, in its types."""
    kinds = {"checkpoint": dict, "done": list, "batches": int, "digest": str, "data": str}
    if not all(type(extra.get(name)) is kind for name, kind in kinds.items()) or extra["batches"] < 0:
        return False
    texts = [*extra["checkpoint"].values(), *extra["done"]]
    return all(isinstance(text, str) for text in texts) and histograms.tensors.keys() >= {*extra["done"]}


def _short(value: str) -> str:
    """Shorten a hash."""
    return value[:12] + "…" if len(value) == 64 else value

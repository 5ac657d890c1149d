"""Hold batches out: remedies are judged by data that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trt_int8.batches.check import Batch, checked, count_samples
from trt_int8.batches.items import Batches
from trt_int8.model.inputs import InputSpec

#: Of so many batches in a row, the second is held out.
EVERY = 4
#: Batches to cut the data into, where there would be fewer: remedies are judged batch by batch.
PARTS = 32
#: Samples held out at most, and samples that biases are corrected by.
SAMPLES = 256
#: Fewer held-out samples than this decide little.
FEW = 16


@dataclass(frozen=True, eq=False)
class Split:
    """Data in two parts; iterating gives the part to fit to, and reads it anew each time.

    Attributes:
        batches: all of them; iterable again.
        held_out: those to judge by; empty where there is a single batch.
        first: the first of the others.
    """

    batches: Batches
    held_out: tuple[Batch, ...]
    first: tuple[Batch, ...]

    def __iter__(self) -> Iterator[Any]:
        last = EVERY * len(self.held_out)
        return (b for i, b in enumerate(self.batches) if i >= last or not _is_held_out(i))

    def readable(self) -> Split:
        """Itself: workers elsewhere are sent the batches."""
        return self

    @property
    def judging(self) -> tuple[Batch, ...]:
        """What remedies are judged by: what is held out, or else what there is."""
        return self.held_out or self.first

    @property
    def text(self) -> str:
        """How remedies are judged, for people."""
        count = count_samples(self.judging)
        if not self.held_out:
            return (
                f"remedies are judged on the {count} samples that all was fitted to, for want of a second "
                "batch: their gains are too rosy, so give more data"
            )
        few = "; so few decide little, so give more data" if count < FEW else ""
        return f"remedies are judged on {count} samples that nothing was fitted to{few}"


def split(
    batches: Batches,
    specs: Mapping[str, InputSpec],
    *,
    reading: Batches | None = None,
    samples: int = SAMPLES,
) -> Split:
    """Hold the second of every four batches out, up to ``samples`` samples.

    Args:
        batches: iterable again.
        specs: the model's inputs.
        reading: the same batches, read once here; None: ``batches``.
        samples: how many are kept in memory of either part.

    Raises:
        DataError: a batch does not fit the model, or there is none.
    """
    parts: tuple[list[Batch], list[Batch]] = [], []
    counts = [0, 0]
    for number, batch in enumerate(checked(batches if reading is None else reading, specs)):
        which = int(_is_held_out(number))
        if counts[which] < samples:
            parts[which].append({name: array.copy() for name, array in batch.items()})
            counts[which] += count_samples([batch])
        if min(counts) >= samples:
            break
    return Split(batches, tuple(parts[1]), tuple(parts[0]))


def _is_held_out(number: int) -> bool:
    return number % EVERY == 1

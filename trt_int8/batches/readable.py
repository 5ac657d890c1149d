"""Batches that can be read again, in part, and on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8.batches.batching import batched, prefetched
from trt_int8.batches.images import ImageSamples
from trt_int8.batches.opening import ReadyBatches, batches_from
from trt_int8.batches.samples import Batch, Samples
from trt_int8.choices import Last


@dataclass(frozen=True)
class ReadableBatches:
    """A source with its batching; each iteration opens the source again.

    Attributes:
        opener: opens the source; picklable if another machine is to open it.
        batch_size, last, limit, shuffle: see `trt_int8.batches.batched`.
        start, stop: the batches to read, after those of ``left_out`` are removed; None: to the end.
        left_out: numbers of batches that are never read.
    """

    opener: Callable[[], Samples | ReadyBatches]
    batch_size: int
    last: Last = "keep"
    limit: int | None = None
    shuffle: int | None = None
    start: int = 0
    stop: int | None = None
    left_out: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        source = self.opener()
        if self.start == 0 and self.stop is None and not self.left_out:
            return batches_from(
                source, self.batch_size, last=self.last, limit=self.limit, shuffle=self.shuffle
            )
        assert not isinstance(source, ReadyBatches)
        part = _Part(source, self._order(source))
        cut = batched(part, self.batch_size, last=self.last)
        return prefetched(cut) if isinstance(source, ImageSamples) else cut

    def part(self, start: int, stop: int) -> ReadableBatches:
        """Return batches ``start`` to ``stop`` - 1; only their samples are read."""
        return replace(self, start=start, stop=stop)

    def without(self, numbers: tuple[int, ...]) -> ReadableBatches:
        """Leave out the batches with these numbers; for sources whose batches can be counted."""
        return replace(self, left_out=numbers)

    def count(self) -> int | None:
        """Return the number of batches; None if it is unknown before they are read (then no parts exist)."""
        source = self.opener()
        if isinstance(source, ReadyBatches) or getattr(source, "skip_bad", False):
            return None
        samples = min(len(source), self.limit or len(source))
        cut = samples // self.batch_size if self.last == "drop" else -(-samples // self.batch_size)
        return cut - len(self.left_out)

    def _order(self, source: Samples) -> npt.NDArray[np.int64]:
        """Indices of the samples in this part."""
        order = np.arange(len(source), dtype=np.int64)
        if self.shuffle is not None:
            order = np.random.default_rng(self.shuffle).permutation(order)
        order = order[: self.limit]
        starts = range(0, len(order), self.batch_size)
        numbers = [number for number in range(len(starts)) if number not in self.left_out]
        chosen = numbers[self.start : self.stop]
        parts = [order[starts[number] : starts[number] + self.batch_size] for number in chosen]
        return np.concatenate([order[:0], *parts])


@dataclass(frozen=True)
class _Part:
    """Some samples of a source."""

    samples: Samples
    indices: npt.NDArray[np.int64]

    @property
    def place(self) -> str:
        return self.samples.place

    def __len__(self) -> int:
        return len(self.indices)

    def fetch(self, indices: npt.NDArray[np.int64]) -> Batch:
        return self.samples.fetch(self.indices[indices])

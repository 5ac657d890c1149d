"""Cut samples into batches. `prefetched` prepares the next batches in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from trt_int8.batches.samples import Batch, Samples
from trt_int8.choices import LAST, Last
from trt_int8.errors import DataError

T = TypeVar("T")
_END = object()


def prefetched(batches: Iterable[T], *, ahead: int = 2) -> Iterator[T]:
    """Yield ``batches`` in order, while a thread prepares up to ``ahead`` of the next ones.

    An exception is raised where its batch would have been yielded. Closing this iterator waits for the batch
    that the thread is preparing.
    """
    iterator = iter(batches)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        pending = deque(pool.submit(next, iterator, _END) for _ in range(ahead))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, iterator, _END))
            yield item  # type: ignore[misc]  # _END is out of the way
    finally:
        pool.shutdown(cancel_futures=True)


def batched(
    samples: Samples,
    batch_size: int,
    *,
    last: Last = "keep",
    limit: int | None = None,
    shuffle: int | None = None,
) -> Iterator[Batch]:
    """Yield ``{input name: array}`` with up to ``batch_size`` samples on the first axis.

    Args:
        samples: the source.
        batch_size: samples per batch, at least 1.
        last: yield a short last batch (``keep``), skip it (``drop``), or fill it up by repeating its last
            sample (``pad``; the repeats count like other samples).
        limit: maximum number of samples, after shuffling; samples that the source skips do not count.
        shuffle: seed of a random order; None keeps the order of the source.

    Raises:
        DataError: there is no sample, or ``limit`` and ``drop`` leave none.
        ValueError: an argument is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1")
    if last not in LAST:
        raise ValueError(f"last is {last!r}; it must be one of {', '.join(LAST)}")
    if len(samples) == 0:
        raise DataError(f"{samples.place}: holds no samples; calibration needs at least one")
    order = np.arange(len(samples), dtype=np.int64)
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(order)
    available = len(order) if limit is None else min(limit, len(order))
    if last == "drop" and available < batch_size:
        raise DataError(
            f"{samples.place}: only {available} samples for a batch size of {batch_size}, and last='drop' "
            "removes short batches; reduce the batch size, or keep or pad the last batch"
        )
    return _cut(samples, batch_size, last, available, order)


def _cut(
    samples: Samples, batch_size: int, last: Last, limit: int, order: npt.NDArray[np.int64]
) -> Iterator[Batch]:
    position = taken = 0
    while taken < limit and position < len(order):
        wanted = min(batch_size, limit - taken)
        parts: list[Batch] = []
        count = 0
        while count < wanted and position < len(order):  # a source may skip bad samples
            indices = order[position : position + wanted - count]
            position += len(indices)
            part = samples.fetch(indices)
            parts.append(part)
            count += _length(part)
        taken += count
        if count and (count == batch_size or last != "drop"):
            batch = _joined(parts)
            yield _padded(batch, batch_size - count) if last == "pad" else batch
    if not taken:
        raise DataError(f"{samples.place}: none of its {len(samples)} samples can be read")


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _joined(parts: list[Batch]) -> Batch:
    parts = [part for part in parts if _length(part)]
    return parts[0] if len(parts) == 1 else {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}


def _padded(batch: Batch, missing: int) -> Batch:
    return {k: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for k, array in batch.items()}

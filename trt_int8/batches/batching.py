"""Cut samples into batches: order, limit, and what happens to a short last batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from trt_int8.batches.source import Samples
from trt_int8.errors import DataError

Last = Literal["keep", "drop", "pad"]

#: What to do with a last batch that is short: pass it on, leave it out, or repeat its last sample.
LAST: tuple[str, ...] = get_args(Last)


def batched(
    samples: Samples,
    batch_size: int,
    *,
    last: Last = "keep",
    limit: int | None = None,
    shuffle: int | None = None,
) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Yield ``{input name: array}`` with up to ``batch_size`` samples on the first axis.

    Args:
        samples: where the data comes from.
        batch_size: samples in a batch, at least 1.
        last: a short last batch is passed on (``keep``), left out (``drop``), or filled up by
            repeating its last sample (``pad``; the repeats are counted like other samples).
        limit: use that many samples at most, after shuffling.
        shuffle: seed of a random order; None keeps the order of the source.

    Raises:
        DataError: there is no sample, or none is left after ``limit`` and ``drop``.
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
    order = order[:limit]
    if last == "drop" and len(order) < batch_size:
        raise DataError(
            f"{samples.place}: {len(order)} samples do not fill one batch of {batch_size} and short "
            "batches are dropped; lower the batch size, or keep or pad the last batch"
        )
    return _cut(samples, batch_size, last, order)


def _cut(
    samples: Samples, batch_size: int, last: Last, order: npt.NDArray[np.int64]
) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        missing = batch_size - len(indices)
        if missing and last == "drop":
            return
        if missing and last == "pad":
            indices = np.concatenate([indices, np.repeat(indices[-1:], missing)])
        yield samples.fetch(indices)

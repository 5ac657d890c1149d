"""Deal the batches out in shards, count each on a worker, and merge the histograms that come back."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import onnx

from trt_int8 import progress
from trt_int8.batches.items import Batches
from trt_int8.batches.readable import ReadableBatches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.run import collect
from trt_int8.dependencies import require
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph.load import serialize

#: Shards for each thread of the workers: the price of a lost one against that of dealing it out.
_SHARDS_PER_THREAD = 4
#: Batches in a shard where their number is not known, or more would have to wait in memory.
_MOST = 16
#: How often a shard may lose its worker before it is taken for the cause.
_RETRIES = 3


@dataclass(frozen=True)
class _Shard:
    """A stretch of the batches: themselves, or how to read them.

    Attributes:
        start: number of the first batch.
        count: how many there are.
        batches: a list, or a part of `ReadableBatches`.
    """

    start: int
    count: int
    batches: Batches


def collect_on(
    client: Any,
    model: onnx.ModelProto,
    batches: Batches,
    *,
    tensors: Collection[str] | None = None,
    max_memory: int | None = None,
    place: str = "the data",
) -> Histograms:
    """`trt_int8.calibration.collect` on the workers of a Dask cluster, with the same result to the last bit.

    The model travels to the cluster once. Batches of `ReadableBatches` are read by the workers, others are
    sent to them. What a worker has counted comes back shard by shard, so that a worker that dies costs the
    shards it is at (and what it had no time to hand over); others do those again.

    Args:
        client: `distributed.Client`.
        model: the float model.
        batches: calibration data.
        tensors: count only these; None: all.
        max_memory: bytes for a worker process.
        place: what to call the data in messages.

    Raises:
        as `trt_int8.calibration.collect`; CalibrationError if workers keep dying over a shard.
    """
    distributed = require("distributed", purpose="calibration on Dask workers")
    threads = max(1, sum(client.nthreads().values()))
    total = batches.count() if isinstance(batches, ReadableBatches) else None
    shards = _shards(batches, total, threads, place)
    with warnings.catch_warnings():
        # A task, unlike scattered data, is made again when the worker that holds it dies.
        warnings.filterwarnings("ignore", message="Sending large graph")
        shared = client.submit(_itself, serialize(model), retries=_RETRIES)
        # With one copy, its worker's death would call back the shards that others are at, too.
        client.replicate([shared])
    merged = _Merge()
    pending: dict[Any, _Shard] = {}
    # Results are fetched as soon as they are there: what a worker holds dies with it.
    finished = distributed.as_completed(loop=client.loop, with_results=True, raise_errors=False)
    try:
        with progress.phase(_title(client), total=total, unit="batches") as phase:
            for shard in itertools.chain(shards, [None]):
                if shard is not None:
                    future = client.submit(
                        count_shard,
                        shared,
                        shard.batches,
                        start=shard.start,
                        tensors=tensors,
                        max_memory=max_memory,
                        place=place,
                        pure=False,
                        retries=_RETRIES,
                    )
                    pending[future] = shard
                    finished.add(future)
                # Two shards a thread: one to count, one to wait; at the end all.
                while pending and (shard is None or len(pending) >= 2 * threads):
                    done, found = next(finished)
                    _raise_failure(done, pending)
                    merged.add(found)
                    phase.advance(pending.pop(done).count)
    finally:
        client.cancel(list(pending))
    return merged.total(place)


def _shards(batches: Batches, total: int | None, threads: int, place: str) -> Iterator[_Shard]:
    if isinstance(batches, ReadableBatches) and total is not None:
        size = max(1, min(_MOST, total // (threads * _SHARDS_PER_THREAD)))
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield _Shard(start, stop - start, batches.part(start, stop))
        return
    start, size = 0, 1
    source = iter(batches)
    while part := list(itertools.islice(source, size)):
        yield _Shard(start, len(part), part)
        start += len(part)
        size = min(_MOST, size * 2)


def _raise_failure(finished: Any, pending: dict[Any, _Shard]) -> None:
    """Raise the error of a failed shard; of several known ones, the first in the order of the data."""
    distributed = require("distributed", purpose="calibration on Dask workers")
    failed = [future for future in (finished, *pending) if future.status == "error"]
    if not failed:
        return
    future = min(failed, key=lambda other: pending[other].start)
    try:
        future.result()
    except distributed.KilledWorker as error:
        shard = pending[future]
        raise CalibrationError(
            f"batches {shard.start} to {shard.start + shard.count - 1} lost their worker {_RETRIES + 1} "
            f"times ({error}); if memory ran out there, use fewer workers or set max_memory="
        ) from error


def _itself(data: bytes) -> bytes:
    return data


def _title(client: Any) -> str:
    workers = len(client.nthreads())
    return f"calibrating on {workers} worker{'' if workers == 1 else 's'}"


def count_shard(
    model: bytes,
    batches: Batches,
    *,
    start: int,
    tensors: Collection[str] | None,
    max_memory: int | None,
    place: str,
) -> Histograms:
    """Histograms of one shard.

    Args:
        model: the serialized float model.
        batches: of this shard.
        start: number of the first one, for messages.
        tensors, max_memory, place: see `trt_int8.calibration.collect`.
    """
    chosen = None if tensors is None else tuple(tensors)
    loaded, activations = _ready(model, chosen)
    return collect(
        loaded,
        batches,
        tensors=chosen,
        threads=1,  # the cores of a worker are for its shards
        max_memory=max_memory,
        place=place,
        first=start,
        activations=activations if max_memory is None else None,
    )


@functools.lru_cache(maxsize=1)
def _ready(model: bytes, tensors: tuple[str, ...] | None) -> tuple[onnx.ModelProto, Activations]:
    """The model, loaded once for all shards of this worker."""
    loaded = onnx.load_from_string(model)
    return loaded, Activations(loaded, tensors=tensors)


class _Merge:
    """Merge in a tree: equals with equals, so that nothing large is copied for each small part."""

    def __init__(self) -> None:
        self._levels: list[Histograms | None] = []

    def add(self, found: Histograms) -> None:
        for level, other in enumerate(self._levels):
            if other is None:
                self._levels[level] = found
                return
            found = other.merge(found)
            self._levels[level] = None
        self._levels.append(found)

    def total(self, place: str) -> Histograms:
        parts = [part for part in self._levels if part is not None]
        if not parts:
            raise DataError(
                f"{place}: holds no batches; if it is a generator it may have been used up already, "
                "so pass a fresh one (or a list)"
            )
        result = parts[0]
        for part in parts[1:]:
            result = result.merge(part)
        return result

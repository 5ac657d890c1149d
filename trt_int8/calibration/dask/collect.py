"""Divide the batches into shards, make the histograms of each on a worker, and merge them."""

from __future__ import annotations

import functools
import itertools
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError, TimeoutError
from contextlib import contextmanager, suppress
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

#: Shards per thread of the workers. More shards lose less with a dead worker, and take more to send.
_SHARDS_PER_THREAD = 4
#: Largest number of batches in a shard.
_MOST = 16
#: How often a shard may lose its worker before it counts as the cause.
_RETRIES = 3
#: Seconds to wait for a worker when there is none: one that died is started again in a few seconds.
_PATIENCE = 30
#: Seconds between looks for results, and for workers.
_POLL, _WATCH = 0.01, 1.0


@dataclass(frozen=True)
class _Shard:
    """``count`` batches from number ``start`` on: a list, or a part of `ReadableBatches`."""

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
    """Do the work of `trt_int8.calibration.collect` on the workers of a `distributed.Client`, bit for bit.

    The model is sent to the cluster once. The workers read the batches of `ReadableBatches` themselves; other
    batches are sent to them. Histograms come back per shard. If a worker dies, only its current shards and
    its unsent results are computed again. ``max_memory`` is the limit of each worker process in bytes.

    Raises:
        CalibrationError: workers die repeatedly on one shard, all of them are gone, or the scheduler is;
            others see `trt_int8.calibration.collect`.
    """
    distributed = require("distributed", purpose="calibration on Dask workers")
    with _connected(client):
        workers = client.nthreads()
    threads = max(1, sum(workers.values()))
    total = batches.count() if isinstance(batches, ReadableBatches) else None
    shards = _shards(batches, total, threads, place)
    with _connected(client), warnings.catch_warnings():
        # A task, unlike scattered data, is computed again when its worker dies.
        warnings.filterwarnings("ignore", message="Sending large graph")
        shared = client.submit(_itself, serialize(model), retries=_RETRIES)
        _wait(shared.done, client)
        # With one copy, the death of its worker would restart the shards of other workers, too.
        client.replicate([shared])
    merged = _MergeTree()
    pending: dict[Any, _Shard] = {}
    # Results are fetched at once, because they are lost if their worker dies.
    finished = distributed.as_completed(loop=client.loop, with_results=True, raise_errors=False)
    try:
        with progress.phase(_title(len(workers)), total=total, unit="batches") as phase:
            for shard in itertools.chain(shards, [None]):
                if shard is not None:
                    with _connected(client):
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
                # Two shards per thread: one is counted, one waits. At the end, wait for all.
                while pending and (shard is None or len(pending) >= 2 * threads):
                    with _connected(client):
                        done, found = _next(finished, client)
                    _raise_failure(done, pending)
                    merged.add(found)
                    phase.advance(pending.pop(done).count)
    finally:
        with suppress(Exception):  # the scheduler may be gone, and what it was asked for with it
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


@contextmanager
def _connected(client: Any) -> Iterator[None]:
    """Make one error of the many that Dask raises when the scheduler is gone."""
    try:
        yield
    except CalibrationError:
        raise
    except Exception as error:
        gone = isinstance(error, (OSError, CancelledError, TimeoutError)) or client.status != "running"
        if not gone:
            raise
        raise CalibrationError(
            f"the connection to the Dask scheduler was lost ({type(error).__name__}); look into its log, "
            "start it again if it died, and repeat the calibration"
        ) from error


def _wait(ready: Callable[[], bool], client: Any) -> None:
    """Wait until ``ready`` returns true.

    Raises:
        CalibrationError: there was no worker for `_PATIENCE` seconds.
        Exception: the scheduler is gone.
    """
    seen = looked = time.monotonic()
    while not ready():
        time.sleep(_POLL)
        now = time.monotonic()
        if now - looked < _WATCH:
            continue
        if client.nthreads():
            seen = now
        elif now - seen > _PATIENCE:
            raise CalibrationError(
                f"all Dask workers are gone, and none came back within {_PATIENCE} s; look into their logs; "
                "if they ran out of memory, use fewer workers on a machine or set max_memory="
            )
        looked = time.monotonic()


def _next(finished: Any, client: Any) -> tuple[Any, Any]:
    """Wait for the next finished future; return it and its result, or the details of its error."""
    _wait(finished.has_ready, client)
    future, found = next(finished)
    if isinstance(found, BaseException):  # cancelled: its scheduler is gone
        raise found
    return future, found


def _raise_failure(finished: Any, pending: dict[Any, _Shard]) -> None:
    """Raise the error of a failed shard; of several, the first in the order of the data."""
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
            f"the worker of batches {shard.start} to {shard.start + shard.count - 1} died {_RETRIES + 1} "
            f"times ({error}); if it ran out of memory, use fewer workers or set max_memory="
        ) from error


def _itself(data: bytes) -> bytes:
    return data


def _title(workers: int) -> str:
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
    """Make the histograms of one shard, whose first batch has the number ``start``."""
    chosen = None if tensors is None else tuple(tensors)
    loaded, activations = _ready(model, chosen)
    return collect(
        loaded,
        batches,
        tensors=chosen,
        threads=1,  # a worker runs one shard per core
        max_memory=max_memory,
        place=place,
        first=start,
        activations=activations if max_memory is None else None,
    )


@functools.lru_cache(maxsize=1)
def _ready(model: bytes, tensors: tuple[str, ...] | None) -> tuple[onnx.ModelProto, Activations]:
    """Load the model once for all shards of this worker."""
    loaded = onnx.load_from_string(model)
    return loaded, Activations(loaded, tensors=tensors)


class _MergeTree:
    """Merge parts of equal size in pairs, so that large histograms are not copied for each small part."""

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
                f"{place}: holds no batches; a generator may have been used up already, so pass a new one, "
                "or a list"
            )
        return functools.reduce(Histograms.merge, parts)

"""Run the float model over batches, several at a time, and count every float activation."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import onnx

from trt_int8.batches.check import checked, count_samples
from trt_int8.batches.holdout import EVERY
from trt_int8.batches.items import Batches, DataDigest
from trt_int8.batches.samples import Batch
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.checkpoint import Checkpoint, Position
from trt_int8.calibration.counting import HistogramCounts
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.kernels import cores
from trt_int8.calibration.passes import plan_passes
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph.model import Model

Counted = dict[str, Histogram]
#: Number of consecutive batches, and whether they are held back.
_CYCLE = ((1, False), (1, True), (EVERY - 2, False))


def collect(
    model: onnx.ModelProto | Model,
    batches: Batches,
    *,
    tensors: Collection[str] | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    checkpoint: Checkpoint | None = None,
    place: str = "the data",
    first: int = 0,
    activations: Activations | None = None,
) -> Histograms:
    """Make a histogram of every float input and activation of ``model`` over ``batches``.

    Memory does not grow with the number of batches. The counts depend neither on the order of the samples
    nor on their split over calls, threads or passes, provided that the model computes the same values for a
    sample in any batch.

    Args:
        model: the float model.
        batches: ``{input name: array}``, see `trt_int8.batches.checked`.
        tensors, threads, max_memory: see `trt_int8.calibrate`.
        checkpoint: saved to on the way; if its file exists, counting resumes from it.
        place: the name of the data in messages.
        first: the number of the first batch in messages.
        activations: ``model`` and ``tensors``, if already loaded.

    Raises:
        DataError: a batch does not fit the model, there is none, or an iterator needs several passes.
        CalibrationError: an activation is NaN (named with its batch); the checkpoint is of another
            calibration; ``max_memory`` is too small.
        ModelError: onnxruntime cannot run the model.
    """
    known = Model.unchecked(model)
    whole = activations or Activations(known, tensors=tensors)
    names, views, ties = whole.names, whole.views, whole.ties
    threads = threads or cores()
    position = (checkpoint.load() if checkpoint is not None else None) or Position()
    parts = [tuple(position.current)] if position.current else []
    left = tuple(name for name in whole.counted if name not in {*position.done, *position.current})
    if left and max_memory is not None:
        plan = plan_passes(
            known.proto, whole, left, batches, max_memory=max_memory, threads=threads, place=place
        )
        parts, threads, batches = [*parts, *plan.parts], plan.threads, plan.batches
    elif left:
        parts.append(left)
    counting = _Counting(batches, threads, checkpoint, place, first, several=len(parts) > 1)
    if not parts:
        counting.require_data(position, whole)
    for part in parts:
        # A session holds the weights, so there is one at a time.
        if set(part) != set(whole.counted):
            del whole
            whole = Activations(known, tensors=tensors, only=part, arena=max_memory is None)
        position = counting.run(whole, position)
    every = {name: position.done[views.get(name, name)] for name in names}
    return Histograms(every, ties=ties, samples=position.samples)


class _Counting:
    """Passes over one set of batches, saved to a checkpoint on the way."""

    def __init__(
        self,
        batches: Batches,
        threads: int,
        checkpoint: Checkpoint | None,
        place: str,
        first: int,
        *,
        several: bool,
    ) -> None:
        self._batches = batches
        self._threads = threads
        self._checkpoint = checkpoint
        self._place = place
        self._first = first
        self._hashed = several or checkpoint is not None

    def run(self, activations: Activations, position: Position) -> Position:
        """Count one pass, from ``position`` to the end of the data."""
        digest = DataDigest()
        queue = self._queue(activations, digest)
        self._go_to(position, queue, digest)
        current, samples = position.current, position.samples if position.batches else 0
        while not queue.ended:
            queue.allow(None if self._checkpoint is None else self._checkpoint.interval)
            found, more = count_batches(activations, queue, threads=self._threads, place=self._place)
            current, samples = merged(current, found) if current else found, samples + more
            if self._checkpoint is not None and not queue.ended:
                taken, found_digest = queue.taken, digest.hexdigest()
                self._checkpoint.save(
                    replace(position, current=current, batches=taken, digest=found_digest, samples=samples)
                )
        if position.data and digest.hexdigest() != position.data:
            raise self._other_data("other samples than in the pass before")
        over = Position({**position.done, **current}, samples=samples, data=digest.hexdigest())
        if self._checkpoint is not None:
            self._checkpoint.save(over)
        return over

    def require_data(self, position: Position, activations: Activations) -> None:
        """Compare the data with that of a finished calibration."""
        digest = DataDigest()
        queue = self._queue(activations, digest)
        while queue.take() is not None:
            pass
        queue.raise_first()
        if digest.hexdigest() != position.data:
            raise self._other_data("other samples")

    def _queue(self, activations: Activations, digest: DataDigest) -> BatchQueue:
        batches = checked(self._batches, activations.specs, place=self._place, first=self._first)
        return BatchQueue(batches, first=self._first, digest=digest if self._hashed else None)

    def _go_to(self, position: Position, queue: BatchQueue, digest: DataDigest) -> None:
        """Skip the batches that are already counted, and check that they are the same."""
        complete = queue.skip(position.batches)
        queue.raise_first()
        if position.batches and not complete:
            raise self._other_data(f"{position.batches} batches or more, now {queue.taken}")
        if position.batches and digest.hexdigest() != position.digest:
            raise self._other_data(f"other samples in its first {position.batches} batches")

    def _other_data(self, difference: str) -> CalibrationError | DataError:
        if self._checkpoint is not None:
            return self._checkpoint.refusal(f"data: {difference}")
        return DataError(
            f"{self._place}: the data changed between two passes ({difference}); all passes must read the "
            "same samples, so switch off random augmentation"
        )


def collect_held_back(
    model: onnx.ModelProto | Model,
    batches: Batches,
    *,
    tensors: Collection[str] | None = None,
    threads: int | None = None,
    place: str = "the data",
) -> tuple[Histograms, Histograms]:
    """Make histograms of three of every four batches, and of the fourth, in one pass.

    See `trt_int8.calibration.collect` for the arguments and errors.

    Returns:
        (fitted, held back); the second has no samples if there is only one batch.
    """
    activations = Activations(model, tensors=tensors)
    queue = BatchQueue(checked(batches, activations.specs, place=place))
    counted: dict[bool, tuple[Counted, int]] = {}
    while not queue.ended:
        for length, held_back in _CYCLE:
            queue.allow(length)
            found, samples = count_batches(activations, queue, threads=threads or cores(), place=place)
            if held_back in counted:
                before, more = counted[held_back]
                found, samples = merged(before, found), samples + more
            counted[held_back] = found, samples
    fitted, held = (_histograms(activations, *counted[part]) for part in (False, True))
    return fitted, held


def _histograms(activations: Activations, counted: Counted, samples: int) -> Histograms:
    every = {name: counted[activations.views.get(name, name)] for name in activations.names}
    return Histograms(every, ties=activations.ties, samples=samples)


def count_batches(
    activations: Activations, queue: BatchQueue, *, threads: int, place: str
) -> tuple[Counted, int]:
    """Return histograms of the counted tensors over the batches of ``queue``, and the number of samples.

    The first error by batch number, of a batch, the model or the loader, is raised.
    """

    def work() -> tuple[Counted, int]:
        found = HistogramCounts(activations.counted)
        samples = 0
        while (item := queue.take()) is not None:
            number, batch = item
            try:
                where = f"{place}, batch {number}"
                found.add(activations.values(batch, place=where), place=where)
            except BaseException as error:
                queue.stop(number, error)
            samples += count_samples([batch], activations.specs)
            del item, batch  # before the next one is there
        return found.histograms(), samples

    with ThreadPoolExecutor(threads, thread_name_prefix="calibrate") as pool:
        try:
            parts = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
        except BaseException:
            queue.close()  # Ctrl-C: workers stop after their current batch
            raise
    queue.raise_first()
    total, samples = parts[0]
    for counted, more in parts[1:]:
        total, samples = merged(total, counted), samples + more
    return total, samples


def merged(one: Mapping[str, Histogram], other: Mapping[str, Histogram]) -> Counted:
    """Merge the histograms of two parts of the data."""
    return {name: histogram.merge(other[name]) for name, histogram in one.items()}


class BatchQueue:
    """Numbered batches for several threads. An error stops all threads.

    Args:
        batches: checked batches.
        first: the number of the first one.
        digest: every batch taken is added to it; None: batches are not hashed.

    Attributes:
        taken: the number of batches handed out.
        ended: no batch is left.
    """

    def __init__(self, batches: Iterator[Batch], *, first: int = 0, digest: DataDigest | None = None) -> None:
        self._batches = batches
        self._first = first
        self._digest = digest
        self._lock = threading.Lock()
        self._errors: list[tuple[int, BaseException]] = []
        self._closed = False
        self._limit: int | None = None
        self.taken = 0
        self.ended = False

    def allow(self, count: int | None) -> None:
        """Hand out ``count`` more batches, then stop until the next call; None: all batches."""
        self._limit = None if count is None else self.taken + count

    def take(self) -> tuple[int, Batch] | None:
        """Return number and copy of the next batch; None at the end, at the limit, or after an error."""
        with self._lock:
            if self._closed or self.ended or self.taken == self._limit:
                return None
            try:
                batch = next(self._batches, None)
                if batch is not None:  # a copy: the source may reuse the array
                    batch = {name: array.copy() for name, array in batch.items()}
                if batch is not None and self._digest is not None:
                    self._digest.add(batch)
            except SystemExit as error:  # would end the program without an error message
                stopped = DataError(f"the data source called sys.exit({error.code!r}); let it return instead")
                stopped.__cause__ = error
                self._errors.append((self._first + self.taken, stopped))
                batch = None
            except BaseException as error:  # the loader's, raised to the caller by `raise_first`
                self._errors.append((self._first + self.taken, error))
                batch = None
            if batch is None:
                self.ended = True
                return None
            self.taken += 1
            return self._first + self.taken - 1, batch

    def skip(self, count: int) -> bool:
        """Skip ``count`` batches; return False if there are fewer."""
        self.allow(count)
        while self.take() is not None:
            pass
        return self.taken == count

    def stop(self, number: int, error: BaseException) -> None:
        """Record that batch ``number`` failed, and hand out no more batches."""
        with self._lock:
            self._errors.append((number, error))
            self._closed = True

    def close(self) -> None:
        """Hand out no more batches."""
        # Without the lock: a loader that hangs holds it.
        self._closed = True

    def raise_first(self) -> None:
        """Raise the error with the lowest batch number, if there is one."""
        if self._errors:
            error: Any = min(self._errors, key=lambda entry: entry[0])[1]
            raise error

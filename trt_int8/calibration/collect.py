"""Run the float model over batches and count every float activation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.digest import DataDigest
from trt_int8.batches.items import Batches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.batch_queue import BatchQueue
from trt_int8.calibration.checkpoint import Checkpoint, Position
from trt_int8.calibration.counting_run import count_batches, merged
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.passes import plan_passes
from trt_int8.cores import cores
from trt_int8.errors import CalibrationError, DataError
from trt_int8.model.model import Model


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
    """A histogram of every float input and activation of ``model`` over ``batches``.

    Memory does not grow with the number of batches. The counts do not depend on the order of the
    samples nor on how they are split over calls, threads or passes, as far as the model computes the same
    values for a sample whatever else is in its batch.

    Args:
        model: the float model.
        batches: ``{input name: array}``, see `trt_int8.batches.checked`.
        tensors: count only these; None: all.
        threads: batches in flight, each on a core of its own; None: as many as there are cores.
        max_memory: bytes the process may take; tensors that do not fit at a time are counted in several
            passes over ``batches`` (`trt_int8.calibration.passes`).
        checkpoint: saved to on the way; where its file exists, counting goes on from there.
        place: what to call the data in messages.
        first: number of the first batch there.
        activations: ``model`` and ``tensors``, loaded before.

    Raises:
        DataError: a batch does not fit the model, or there is none; several passes over an iterator.
        CalibrationError: an activation is NaN (named with its batch); the checkpoint is that of another
            calibration; ``max_memory`` is too little.
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
        # A session holds the weights: one at a time.
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
        """One pass, from ``position`` on, to the end of the data."""
        digest = DataDigest()
        queue = self._queue(activations, digest)
        self._go_to(position, queue, digest)
        current, samples = position.current, position.samples if position.batches else 0
        while not queue.ended:
            queue.allow(None if self._checkpoint is None else self._checkpoint.every)
            found, more = count_batches(activations, queue, threads=self._threads, place=self._place)
            current, samples = merged(current, found) if current else found, samples + more
            if self._checkpoint is not None and not queue.ended:
                self._checkpoint.save(
                    replace(
                        position,
                        current=current,
                        batches=queue.taken,
                        digest=digest.hexdigest(),
                        samples=samples,
                    )
                )
        if position.data and digest.hexdigest() != position.data:
            raise self._other_data("other samples than in the pass before")
        over = Position({**position.done, **current}, samples=samples, data=digest.hexdigest())
        if self._checkpoint is not None:
            self._checkpoint.save(over)
        return over

    def require_data(self, position: Position, activations: Activations) -> None:
        """Hold the data against a finished calibration."""
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
        """Skip the batches that are counted already, holding them against what was counted."""
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
            f"{self._place}: {difference}; several passes need the same samples each time, so give data "
            "that does not change (no random augmentation)"
        )

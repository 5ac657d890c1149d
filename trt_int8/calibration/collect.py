"""Run the float model over batches and count every float activation, a batch on each core."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.tally import Tally, new_tallies
from trt_int8.cores import cores
from trt_int8.errors import CalibrationError

Batch = dict[str, npt.NDArray[np.generic]]


def collect(
    model: onnx.ModelProto,
    batches: Batches,
    *,
    tensors: Collection[str] | None = None,
    threads: int | None = None,
    place: str = "the data",
) -> Histograms:
    """One pass over ``batches``: a histogram of every float input and activation of ``model``.

    Memory does not grow with the number of batches. The counts do not depend on the order of the
    samples nor on how they are split over calls or threads, as far as the model computes the same values
    for a sample whatever else is in its batch.

    Args:
        model: the float model.
        batches: ``{input name: array}``, see `trt_int8.batches.checked`.
        tensors: count only these; None: all.
        threads: batches in flight, each on a core of its own; None: as many as there are cores.
        place: what to call the data in messages.

    Raises:
        DataError: a batch does not fit the model, or there is none.
        CalibrationError: an activation is NaN (named with its batch).
        ModelError: onnxruntime cannot run the model.
    """
    activations = Activations(model, tensors=tensors)
    queue = _Queue(checked(batches, activations.specs, place=place))
    count = threads or cores()

    def work() -> tuple[dict[str, Histogram], int]:
        found = new_tallies(activations.counted)
        samples = 0
        while (item := queue.take()) is not None:
            number, batch = item
            try:
                _count_batch(activations, batch, found, f"{place}, batch {number}")
            except BaseException as error:
                queue.stop(number, error)
            samples += _samples(batch)
        return {name: tally.histogram() for name, tally in found.items()}, samples

    with ThreadPoolExecutor(count, thread_name_prefix="calibrate") as pool:
        try:
            parts = [future.result() for future in [pool.submit(work) for _ in range(count)]]
        finally:
            queue.close()  # Ctrl-C: workers end with their current batch
    queue.raise_first()
    merged = {name: _merged(part[name] for part, _ in parts) for name in activations.counted}
    every = {name: merged[activations.views.get(name, name)] for name in activations.names}
    return Histograms(every, ties=activations.ties, samples=sum(samples for _, samples in parts))


def _count_batch(activations: Activations, batch: Batch, found: dict[str, Tally], place: str) -> None:
    for name, values in activations.values(batch, place=place):
        try:
            found[name].add(values)
        except CalibrationError as error:
            raise CalibrationError(
                f"{place}, tensor {name!r}: {error}; the model itself computes it from finite inputs, so "
                "look at the operator that makes this tensor"
            ) from error


def _merged(parts: Iterable[Histogram]) -> Histogram:
    total = Histogram.empty()
    for part in parts:
        total = total.merge(part)
    return total


def _samples(batch: Batch) -> int:
    first = next(iter(batch.values()))
    return first.shape[0] if first.ndim else 1


class _Queue:
    """Numbered batches for several threads; the first thing wrong, by batch number, stops them all."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = enumerate(batches)
        self._lock = threading.Lock()
        self._errors: list[tuple[int, BaseException]] = []
        self._closed = False
        self._taken = -1

    def take(self) -> tuple[int, Batch] | None:
        """The next batch; None at the end and after an error."""
        with self._lock:
            if self._closed:
                return None
            try:
                item = next(self._batches, None)
            except BaseException as error:  # the loader's, raised to the caller by `raise_first`
                self._errors.append((self._taken + 1, error))
                item = None
            if item is None:
                self._closed = True
            else:
                self._taken = item[0]
            return item

    def stop(self, number: int, error: BaseException) -> None:
        with self._lock:
            self._errors.append((number, error))
            self._closed = True

    def close(self) -> None:
        # Without the lock: a loader that hangs holds it.
        self._closed = True

    def raise_first(self) -> None:
        if self._errors:
            raise min(self._errors, key=lambda entry: entry[0])[1]

"""Run a model over batches, one on each core, and count what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from trt_int8.calibration.activations import Activations
from trt_int8.calibration.batch_queue import Batch, BatchQueue
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.tally import Tally, new_tallies
from trt_int8.errors import CalibrationError

Counted = dict[str, Histogram]


def count_batches(
    activations: Activations, queue: BatchQueue, *, threads: int, place: str
) -> tuple[Counted, int]:
    """Histograms of the counted tensors over the batches that ``queue`` hands out, and the number of samples.

    Raises:
        whatever failed first, by batch number: a batch, the model, the loader.
    """

    def work() -> tuple[Counted, int]:
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

    with ThreadPoolExecutor(threads, thread_name_prefix="calibrate") as pool:
        try:
            parts = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
        except BaseException:
            queue.close()  # Ctrl-C: workers end with their current batch
            raise
    queue.raise_first()
    total, samples = parts[0]
    for counted, more in parts[1:]:
        total, samples = merged(total, counted), samples + more
    return total, samples


def merged(one: Mapping[str, Histogram], other: Mapping[str, Histogram]) -> Counted:
    """Histograms of both parts of the data."""
    return {name: histogram.merge(other[name]) for name, histogram in one.items()}


def _count_batch(activations: Activations, batch: Batch, found: dict[str, Tally], place: str) -> None:
    for name, values in activations.values(batch, place=place):
        try:
            found[name].add(values)
        except CalibrationError as error:
            raise CalibrationError(
                f"{place}, tensor {name!r}: {error}; the model itself computes it from finite inputs, so "
                "look at the operator that makes this tensor"
            ) from error


def _samples(batch: Batch) -> int:
    first = next(iter(batch.values()))
    return first.shape[0] if first.ndim else 1

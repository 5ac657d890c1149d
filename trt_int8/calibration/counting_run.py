"""Run a model over batches, one on each core, and count what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from trt_int8.calibration.activations import Activations
from trt_int8.calibration.batch_queue import Batch, BatchQueue
from trt_int8.calibration.counting import HistogramCounts
from trt_int8.calibration.histogram import Histogram

Counted = dict[str, Histogram]


def count_batches(
    activations: Activations, queue: BatchQueue, *, threads: int, place: str
) -> tuple[Counted, int]:
    """Histograms of the counted tensors over the batches that ``queue`` hands out, and the number of samples.

    Raises:
        whatever failed first, by batch number: a batch, the model, the loader.
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
            samples += _samples(batch)
            del item, batch  # before the next one is there
        return found.histograms(), samples

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


def _samples(batch: Batch) -> int:
    first = next(iter(batch.values()))
    return first.shape[0] if first.ndim else 1

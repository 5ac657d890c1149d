"""Collect with a part of the batches held out, to judge by what the rest was not fitted to."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.batch_queue import BatchQueue
from trt_int8.calibration.counting_run import Counted, count_batches, merged
from trt_int8.calibration.histograms import Histograms
from trt_int8.cores import cores
from trt_int8.model.model import Model

#: Of four batches the second is held out: batches in a row, and whether they are.
_CYCLE = ((1, False), (1, True), (2, False))


def collect_held_out(
    model: onnx.ModelProto | Model,
    batches: Batches,
    *,
    tensors: Collection[str] | None = None,
    threads: int | None = None,
    place: str = "the data",
) -> tuple[Histograms, Histograms]:
    """One pass over ``batches``: histograms of three batches of four, and of the fourth.

    Args:
        model, batches, tensors, threads, place: see `trt_int8.calibration.collect`.

    Returns:
        (fitted, held out); the second holds no samples where there is but one batch.

    Raises:
        Everything that `trt_int8.calibration.collect` does.
    """
    activations = Activations(model, tensors=tensors)
    queue = BatchQueue(checked(batches, activations.specs, place=place))
    counted: dict[bool, tuple[Counted, int]] = {}
    while not queue.ended:
        for length, held_out in _CYCLE:
            queue.allow(length)
            found, samples = count_batches(activations, queue, threads=threads or cores(), place=place)
            if held_out in counted:
                before, more = counted[held_out]
                found, samples = merged(before, found), samples + more
            counted[held_out] = found, samples
    fitted, held = (_histograms(activations, *counted[part]) for part in (False, True))
    return fitted, held


def _histograms(activations: Activations, counted: Counted, samples: int) -> Histograms:
    every = {name: counted[activations.views.get(name, name)] for name in activations.names}
    return Histograms(every, ties=activations.ties, samples=samples)

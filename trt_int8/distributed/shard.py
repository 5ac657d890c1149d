"""What a worker does."""

from __future__ import annotations

import functools
from collections.abc import Collection

import onnx

from trt_int8.batches.items import Batches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.collect import collect
from trt_int8.calibration.histograms import Histograms


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

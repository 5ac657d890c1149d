"""Read the scales of a Q/DQ model back out of it, as a calibration cache."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping

import numpy as np
import onnx

from trt_int8.errors import CacheError
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange

#: Where a migrated model keeps the cache it was made from, and which entry each other tensor took.
CACHE_KEY, NAMES_KEY = "trt_int8.calibration_cache", "trt_int8.calibration_cache.names"


def pair_scales(graph: QdqGraph) -> dict[str, np.generic]:
    """Quantized tensor → the scale of its pairs, in the type the model has it.

    Raises:
        CacheError: a pair a cache cannot express: asymmetric, per channel, two scales for a tensor.
    """
    scales: dict[str, np.generic] = {}
    for before, _ in graph.pairs():
        tensor = before.input[0]
        if graph.index.is_constant(tensor):
            continue
        values = graph.index.constant(before.input[1])
        zero_point = graph.zero_point(before)
        if values is None or values.size != 1:
            raise CacheError(
                f"{label(before)}: a cache holds one scale for each tensor; repair the model first, with "
                "fix_qdq or trt-int8 check-qdq --fix"
            )
        if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
            raise CacheError(
                f"{label(before)}: quantizes tensor {tensor!r} asymmetrically or not to INT8, "
                "which a cache cannot express; repair the model first, with fix_qdq or "
                "trt-int8 check-qdq --fix"
            )
        scale = values.reshape(-1)[0]
        if tensor in scales and scales[tensor] != scale:
            raise CacheError(
                f"tensor {tensor!r} has pairs with the scales {scales[tensor]:g} and {scale:g}; "
                "a cache holds one"
            )
        scales[tensor] = scale
    return scales


def rounded(scale: np.float32 | None, dtype: np.dtype[np.generic]) -> np.generic | None:
    """``scale`` as a model with scales of type ``dtype`` has it; None for None."""
    if scale is None:
        return None
    with np.errstate(over="ignore"):
        value: np.generic = scale.astype(dtype)
    return value


def uncast(tensor: str, known: Container[str], index: GraphIndex) -> str:
    """The one of ``known`` that ``tensor`` is, Casts aside; itself if there is none."""
    name = tensor
    while name not in known:
        node = index.producers.get(name)
        if node is None or node.op_type != "Cast":
            return tensor
        name = node.input[0]
    return name


def rounding(model: onnx.ModelProto, scales: Mapping[str, np.float32]) -> str | None:
    """How far the scales in ``model`` are from ``scales``, in a line; None if they are the same."""
    graph = QdqGraph(model)
    changes = {}
    for tensor, written in pair_scales(graph).items():
        name = uncast(tensor, scales, graph.index)
        if name in scales and np.float32(written) != scales[name]:
            changes[name] = abs(float(written) / float(scales[name]) - 1)
            dtype = written.dtype
    if not changes:
        return None
    worst = max(changes, key=lambda name: changes[name])
    return (
        f"{len(changes)} of {len(scales)} scales are rounded to {dtype}, by up to {changes[worst]:.2g} of "
        f"their value ({worst!r}); scales='fp32' keeps them exact"
    )


def cache_from_qdq(model: ModelLike) -> CalibrationCache:
    """The scales of all activation pairs of ``model`` as a TensorRT calibration cache.

    A model made by `migrate` gives back the cache it was made from, byte for byte, entries without a pair
    included, also if the model has its scales rounded to float16; a pair whose scale was changed since goes
    before the old entry.

    Examples:
        >>> list(cache_from_qdq("model.qdq.onnx").scales)
        ['data', 'pool1', 'pool2_flat', 'ip1']

    Raises:
        ModelError: the model cannot be read.
        CacheError: no pairs, or one a cache cannot express: asymmetric, per channel, two scales for a tensor.
    """
    given = Model.of(model)
    written = pair_scales(QdqGraph(given.proto, given.index))
    metadata = {entry.key: entry.value for entry in given.proto.metadata_props}
    if CACHE_KEY not in metadata:
        if not written:
            raise CacheError("the model holds no Q/DQ pairs on activations, so there are no scales to write")
        return _cache({tensor: np.float32(scale) for tensor, scale in written.items()})
    kept = CalibrationCache.parse(metadata[CACHE_KEY], source="the cache kept in the model")
    taken = json.loads(metadata.get(NAMES_KEY, "{}"))
    known = {*kept.scales, *taken}
    changed = {}
    for tensor, scale in written.items():
        name = uncast(tensor, known, given.index)
        if rounded(kept.scales.get(taken.get(name, name)), scale.dtype) != scale:
            changed[name] = np.float32(scale)
    if not changed:
        return kept
    merged = {**kept.scales, **changed}
    body = _cache(merged).text.partition("\n")[2]
    return CalibrationCache(kept.header, merged, f"{kept.header}\n{body}")


def _cache(scales: dict[str, np.float32]) -> CalibrationCache:
    # 127 · scale is exact in float64, so the same bits come out.
    return CalibrationCache.from_ranges(
        Ranges({name: TensorRange(float(scale) * 127, source="Q/DQ") for name, scale in scales.items()})
    )

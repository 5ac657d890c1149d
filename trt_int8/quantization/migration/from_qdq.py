"""Read a calibration cache back out of a Q/DQ model."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx

from trt_int8.errors import CacheError
from trt_int8.model.graph import label
from trt_int8.model.load import load_model
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.migration.migrate import CACHE_KEY, NAMES_KEY
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange


def cache_from_qdq(model: onnx.ModelProto | str | os.PathLike[str]) -> CalibrationCache:
    """The scales of all activation pairs of ``model`` as a TensorRT calibration cache.

    A model made by `migrate` gives back the cache it was made from, byte for byte, entries without a pair
    included; a pair whose scale was changed since goes before the old entry.

    Raises:
        ModelError: the model cannot be read.
        CacheError: no pairs, or one a cache cannot express: asymmetric, per channel, two scales for a tensor.
    """
    loaded = load_model(model)
    scales = _pair_scales(QdqGraph(loaded))
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    if CACHE_KEY not in metadata:
        if not scales:
            raise CacheError("the model holds no Q/DQ pairs on activations, so there are no scales to write")
        return _cache(scales)
    kept = CalibrationCache.parse(metadata[CACHE_KEY], source="the cache kept in the model")
    taken = json.loads(metadata.get(NAMES_KEY, "{}"))
    changed = {t: s for t, s in scales.items() if kept.scales.get(taken.get(t, t)) != s}
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


def _pair_scales(graph: QdqGraph) -> dict[str, np.float32]:
    scales: dict[str, np.float32] = {}
    for before, _ in graph.pairs():
        tensor = before.input[0]
        if graph.index.is_constant(tensor):
            continue
        values = graph.index.constant(before.input[1])
        zero_point = graph.zero_point(before)
        if values is None or values.size != 1:
            raise CacheError(f"{label(before)}: a cache holds one scale a tensor; run check-qdq --fix first")
        if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
            raise CacheError(
                f"{label(before)}: quantizes tensor {tensor!r} asymmetrically or not to INT8, "
                "which a cache cannot express; run check-qdq --fix first"
            )
        scale = np.float32(values.reshape(()))
        if tensor in scales and scales[tensor] != scale:
            raise CacheError(
                f"tensor {tensor!r} has pairs with the scales {scales[tensor]:g} and {scale:g}; "
                "a cache holds one"
            )
        scales[tensor] = scale
    return scales

"""Read a calibration cache back out of a Q/DQ model."""

from __future__ import annotations

import json

import numpy as np

from trt_int8.errors import CacheError
from trt_int8.model.model import Model, ModelLike
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.migration.migrate import CACHE_KEY, NAMES_KEY
from trt_int8.quantization.migration.pairs import pair_scales, rounded, uncast
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange


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

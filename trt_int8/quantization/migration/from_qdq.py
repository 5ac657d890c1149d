"""Write the scales of a Q/DQ model as a calibration cache."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np
import onnx

from trt_int8.documents import DocumentError, parse_json
from trt_int8.errors import CacheError
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange

#: Metadata of a migrated model: the cache it was made from, and the entries that other tensors took.
CACHE_KEY, NAMES_KEY = "trt_int8.calibration_cache", "trt_int8.calibration_cache.names"


def pair_scales(graph: QdqGraph) -> dict[str, np.generic]:
    """Return quantized tensor → the scale of its pairs, in the type of the model.

    Raises:
        CacheError: a cache cannot express a pair: asymmetric, per channel, two scales for a tensor.
    """
    scales: dict[str, np.generic] = {}
    advice = "repair the model first, with fix_qdq or trt-int8 check-qdq --fix"
    for before, _ in graph.pairs():
        tensor = before.input[0]
        if graph.index.is_constant(tensor):
            continue
        values = graph.index.constant(before.input[1])
        zero_point = graph.zero_point(before)
        if values is None or values.size != 1:
            raise CacheError(f"{label(before)}: a cache holds one constant scale for each tensor; {advice}")
        if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
            raise CacheError(
                f"{label(before)}: quantizes tensor {tensor!r} asymmetrically or not to INT8, "
                f"which a cache cannot express; {advice}"
            )
        scale = values.reshape(-1)[0]
        if tensor in scales and scales[tensor] != scale:
            raise CacheError(
                f"tensor {tensor!r} has pairs with the scales {scales[tensor]:g} and {scale:g}; "
                "a cache holds one scale for each tensor"
            )
        scales[tensor] = scale
    return scales


def _uncast(tensor: str, known: Container[str], index: GraphIndex) -> str:
    """Return the tensor of ``known`` before the Casts that lead to ``tensor``; itself if there is none."""
    name = tensor
    while name not in known:
        node = index.producers.get(name)
        if node is None or node.op_type != "Cast":
            return tensor
        name = node.input[0]
    return name


def rounding(model: onnx.ModelProto, scales: Mapping[str, np.float32]) -> str | None:
    """Return a note that says how much the scales in ``model`` differ from ``scales``, or None."""
    graph = QdqGraph(model)
    changes = {}
    for tensor, written in pair_scales(graph).items():
        name = _uncast(tensor, scales, graph.index)
        if name in scales and np.float32(written) != scales[name]:
            changes[name] = abs(float(written) / float(scales[name]) - 1)
            dtype = written.dtype
    if not changes:
        return None
    worst = max(changes, key=lambda name: changes[name])
    return (
        f"{len(changes)} of {len(scales)} scales are rounded to {dtype}, by up to {changes[worst]:.2g} of "
        f"their value ({worst!r}); scale_dtype='fp32' keeps them exact"
    )


def cache_from_qdq(model: ModelLike) -> CalibrationCache:
    """Return the scales of all activation pairs of ``model`` as a TensorRT calibration cache.

    For a model made by `migrate` this is the cache it was made from, byte for byte: with entries without a
    pair, and with exact scales even if the model has them rounded to float16. A pair whose scale was changed
    since then overrides the old entry.

    Examples:
        >>> list(cache_from_qdq("model.qdq.onnx").scales)
        ['data', 'pool1', 'pool2_flat', 'ip1']

    Raises:
        ModelError: the model cannot be read.
        CacheError: the model has no pairs, or a cache cannot express one (see `pair_scales`).
    """
    given = Model.of(model)
    written = pair_scales(QdqGraph(given.proto, given.index))
    metadata = {entry.key: entry.value for entry in given.proto.metadata_props}
    if CACHE_KEY not in metadata:
        if not written:
            raise CacheError("the model has no Q/DQ pairs on activations, so no cache can be written")
        return CalibrationCache.from_ranges(_ranges(written))
    kept = CalibrationCache.parse(metadata[CACHE_KEY], source="the cache kept in the model")
    taken = _taken(metadata.get(NAMES_KEY, "{}"))
    known = {*kept.scales, *taken}
    changed = {}
    for tensor, scale in written.items():
        name = _uncast(tensor, known, given.index)
        old = kept.scales.get(taken.get(name, name))
        with np.errstate(over="ignore"):
            if old is None or old.astype(scale.dtype) != scale:
                changed[name] = np.float32(scale)
    if not changed:
        return kept
    merged = {**kept.scales, **changed}
    body = CalibrationCache.from_ranges(_ranges(merged)).text.partition("\n")[2]
    return CalibrationCache(kept.header, merged, f"{kept.header}\n{body}")


def _taken(text: str) -> dict[str, str]:
    """Read tensor → the entry of the cache that it took."""
    try:
        taken = parse_json(text)
        if not isinstance(taken, dict) or not all(isinstance(name, str) for name in taken.values()):
            raise DocumentError("not a mapping of names")
    except DocumentError as error:
        raise CacheError(
            f"the metadata {NAMES_KEY!r} of the model is damaged ({error}); migrate the model again"
        ) from error
    return taken


def _ranges(scales: Mapping[str, np.generic]) -> Ranges:
    # 127 · scale is exact in float64, so the cache has the same bits.
    return Ranges({name: TensorRange(float(scale) * 127, source="Q/DQ") for name, scale in scales.items()})

"""The scales that a Q/DQ model has for its activations."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np
import onnx

from trt_int8.errors import CacheError
from trt_int8.model.graph import GraphIndex, label
from trt_int8.quantization.check.qdq import QdqGraph


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

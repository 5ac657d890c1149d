"""Tensors between layers: copies around INT8 layers, float between them, bytes moved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from trt_int8.report.datatypes import BITS
from trt_int8.report.records import Findings, Layer, Tensor

_STEPS = ("reformat", "quantize")
_FLOATS = ("fp32", "fp16", "bf16")


def findings(layers: Sequence[Layer]) -> Findings:
    """What `Findings` describes, for the layers of one engine."""
    producers = {tensor.name: layer for layer in layers for tensor in layer.outputs}
    consumers: dict[str, list[Layer]] = {}
    for layer in layers:
        for tensor in layer.inputs:
            consumers.setdefault(tensor.name, []).append(layer)
    moved, unknown = bytes_moved(layers)
    return Findings(
        tuple(layer.name for layer in layers if _copied_around(layer, producers, consumers)),
        tuple(_float_between(layers, producers, consumers)),
        tuple(sorted(moved.items())),
        unknown,
    )


def bytes_moved(layers: Sequence[Layer]) -> tuple[Counter[str], int]:
    """Activation bytes read and written, per datatype, and how many layers could not be counted."""
    moved: Counter[str] = Counter()
    unknown = 0
    for layer in layers:
        if layer.type == "NoOp" or layer.kind == "data":
            continue
        sizes = [(tensor.dtype, size_in_bytes(tensor)) for tensor in (*layer.inputs, *layer.outputs)]
        if any(size is None for _, size in sizes):
            unknown += 1
            continue
        for dtype, size in sizes:
            moved[dtype] += size or 0
    return moved, unknown


def size_in_bytes(tensor: Tensor) -> int | None:
    """Bytes of a tensor; None where a dimension is dynamic or the datatype unknown."""
    bits = BITS.get(tensor.dtype)
    if bits is None or tensor.dims is None or any(size < 0 for size in tensor.dims):
        return None
    return math.prod(tensor.dims) * bits // 8


def _is_int8(layer: Layer | None) -> bool:
    return layer is not None and layer.kind == "compute" and layer.precision == "int8"


def _copied_around(layer: Layer, producers: dict[str, Layer], consumers: dict[str, list[Layer]]) -> bool:
    if not _is_int8(layer):
        return False
    before = any(
        (source := producers.get(tensor.name)) is not None and source.kind in _STEPS
        for tensor in layer.inputs
    )
    behind = any(
        reader.kind in _STEPS for tensor in layer.outputs for reader in consumers.get(tensor.name, ())
    )
    return before and behind


def _float_between(
    layers: Sequence[Layer], producers: dict[str, Layer], consumers: dict[str, list[Layer]]
) -> list[tuple[str, str, str, str]]:
    """Float tensors that an INT8 layer writes and, directly or through copies, another INT8 layer reads."""
    found = []
    for layer in layers:
        if not _is_int8(layer):
            continue
        for tensor in layer.outputs:
            if tensor.dtype not in _FLOATS:
                continue
            for reader in consumers.get(tensor.name, ()):
                end = _through_copies(reader, consumers)
                if end is not None:
                    found.append((tensor.name, tensor.dtype, layer.name, end.name))
    return found


def _through_copies(layer: Layer, consumers: dict[str, list[Layer]]) -> Layer | None:
    for _ in range(8):
        if _is_int8(layer):
            return layer
        if layer.kind not in _STEPS:
            return None
        readers = [reader for tensor in layer.outputs for reader in consumers.get(tensor.name, ())]
        following = next((reader for reader in readers if _is_int8(reader) or reader.kind in _STEPS), None)
        if following is None:
            return None
        layer = following
    return None

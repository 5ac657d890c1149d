"""Tensors between layers: copies around INT8 layers, float tensors between them, bytes moved."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from trt_int8.report.read.datatypes import BITS
from trt_int8.report.records import Findings, Layer, Tensor

_STEPS = ("reformat", "quantize")
_FLOATS = ("fp32", "fp16", "bf16")
_LONGEST_CHAIN = 8


def findings(layers: Sequence[Layer]) -> Findings:
    """Return the `Findings` for the layers of one engine."""
    copied_into = {tensor.name for layer in layers if layer.kind in _STEPS for tensor in layer.outputs}
    copied_from = {tensor.name for layer in layers if layer.kind in _STEPS for tensor in layer.inputs}
    moved, unknown = bytes_moved(layers)
    return Findings(
        tuple(
            layer.name
            for layer in layers
            if _is_int8(layer)
            and any(tensor.name in copied_into for tensor in layer.inputs)
            and any(tensor.name in copied_from for tensor in layer.outputs)
        ),
        tuple(_float_between(layers)),
        tuple(sorted(moved.items())),
        unknown,
    )


def bytes_moved(layers: Sequence[Layer]) -> tuple[Counter[str], int]:
    """Return the activation bytes read and written per datatype, and the number of layers not counted."""
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
    """Return the bytes of a tensor; None if a dimension is dynamic or the datatype unknown."""
    bits = BITS.get(tensor.dtype)
    if bits is None or tensor.dims is None or any(size < 0 for size in tensor.dims):
        return None
    return math.prod(tensor.dims) * bits // 8


def _is_int8(layer: Layer) -> bool:
    return layer.kind == "compute" and layer.precision == "int8"


def _float_between(layers: Sequence[Layer]) -> list[tuple[str, str, str, str]]:
    """Return float tensors that one INT8 layer writes and another one reads, directly or through copies.

    Several layers may write one tensor (parts of a concatenation), so only readers after the writer count.
    """
    following: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        if _is_int8(layer) or layer.kind in _STEPS:
            for name in {tensor.name for tensor in layer.inputs}:
                following.setdefault(name, []).append(index)
    found = []
    told: set[str] = set()
    for index, layer in enumerate(layers):
        for tensor in layer.outputs if _is_int8(layer) else ():
            if tensor.dtype not in _FLOATS or tensor.name in told:
                continue
            told.add(tensor.name)
            readers = following.get(tensor.name, [])
            for reader in readers[bisect_right(readers, index) :]:
                end = _through_copies(layers, reader, following)
                if end is not None:
                    found.append((tensor.name, tensor.dtype, layer.name, layers[end].name))
    return found


def _through_copies(layers: Sequence[Layer], index: int, following: dict[str, list[int]]) -> int | None:
    """Return the INT8 layer at the end of a chain of copies from ``index`` on, or None."""
    for _ in range(_LONGEST_CHAIN):
        if _is_int8(layers[index]):
            return index
        for tensor in layers[index].outputs:
            readers = following.get(tensor.name, [])
            at = bisect_right(readers, index)
            if at < len(readers):
                index = readers[at]
                break
        else:
            return None
    return None

"""Rules for weights: along which axis they have scales, and what is folded into them."""

from __future__ import annotations

import onnx

from trt_int8.model.graph import attribute
from trt_int8.model.operators import MULTIPLYING
from trt_int8.model.passes.batch_norm_folding import foldable_norm
from trt_int8.quantization.placement.draft import Draft, Weight


def per_channel(draft: Draft) -> None:
    """A scale for each output channel."""
    draft.per_channel = True


def per_channel_batches(draft: Draft) -> None:
    """Also for constant operands of MatMul with more than two dimensions."""
    draft.per_channel_batches = True


def fold_batch_norm(draft: Draft) -> None:
    """BatchNormalization behind a quantized Conv that nothing else reads."""
    for name, site in draft.sites.items():
        if site.node.op_type == "Conv":
            norm = foldable_norm(site.node, draft.index)
            if norm is not None:
                draft.folds[name] = norm


def weight_of(draft: Draft, node: onnx.NodeProto, slot: int) -> Weight:
    """The constant operand ``slot`` of ``node`` with the axis its scales run along."""
    values = draft.constant(node.input[slot])
    assert values is not None
    if not draft.per_channel:
        return Weight(slot, None)
    return Weight(slot, output_channels(node, slot, values.ndim, batches=draft.per_channel_batches))


def output_channels(node: onnx.NodeProto, slot: int, rank: int, *, batches: bool = False) -> int | None:
    """The axis of output channels of a constant operand; None where only one scale is allowed.

    Conv: 0. ConvTranspose: 1, whose entries a grouped one uses for several output channels: one scale.
    Gemm: 0 of B with transB = 1, else 1; the other way round for a constant A. MatMul: columns of a
    constant B, rows of a constant A; of batched ones only if ``batches``.
    """
    if rank < 2 or node.op_type not in MULTIPLYING:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        transposed = attribute(node, "transB" if slot == 1 else "transA", 0)
        return int(bool(transposed) != (slot == 1))
    if rank > 2 and not batches:
        return None
    return rank - 1 if slot == 1 else rank - 2

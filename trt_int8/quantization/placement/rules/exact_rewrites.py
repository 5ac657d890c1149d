"""Rules that change the graph and not its results."""

from __future__ import annotations

import onnx

from trt_int8.graph.passes.batch_norm_folding import foldable_norm
from trt_int8.graph.passes.split_before_transpose import find_split
from trt_int8.quantization.placement.draft import Draft
from trt_int8.quantization.placement.rule import RTX, rule


@rule("fold-batch-norm", 500, "Exact; the weights are quantized as the kernel uses them.")
def fold_batch_norm(draft: Draft) -> None:
    """Fold a BatchNormalization into the quantized Conv before it, where that is exact."""
    for name, site in draft.sites.items():
        if site.node.op_type == "Conv":
            norm = foldable_norm(site.node, draft.index)
            if norm is not None:
                draft.folds[name] = norm


@rule(
    "parts-before-transpose",
    520,
    "Exact; measured: INT8, where the weights would be dequantized, and fewer kernels.",
    only=RTX,
)
def parts_before_transpose(draft: Draft) -> None:
    """If one product computes query, key and value and is transposed and then split, split it first."""
    for node in draft.nodes:
        split = find_split(node, draft.index, draft.constants)
        if split is not None and _from_quantized_product(node.input[0], draft):
            draft.splits.append(split)


@rule("fold-small-constants", 530, "Exact; measured: one kernel less.", only=RTX)
def fold_small_constants(draft: Draft) -> None:
    """Compute scalars and shapes that depend on no input beforehand."""
    draft.fold_small_constants = True


def _from_quantized_product(tensor: str, draft: Draft) -> bool:
    """Return whether ``tensor`` is a quantized product by a weight, also reshaped or with its bias added."""
    producer: onnx.NodeProto | None = draft.index.producers.get(tensor)
    while producer is not None and (
        producer.op_type in ("Reshape", "Identity")
        or (producer.op_type == "Add" and producer.output[0] not in draft.sites)
    ):
        operands = [name for name in producer.input[:2] if draft.constant(name) is None]
        operands = operands[:1] if producer.op_type == "Reshape" else operands
        if len(operands) != 1:
            return False
        producer = draft.index.producers.get(operands[0])
    site = None if producer is None else draft.sites.get(producer.output[0])
    return site is not None and bool(site.weights) and site.node.op_type in ("MatMul", "Gemm")

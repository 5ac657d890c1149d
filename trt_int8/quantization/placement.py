"""Where Q/DQ pairs go: one rule a function, each naming its source.

The rules follow "Working with Quantized Types" in the TensorRT developer guide: quantize the inputs of
the operators that multiply, not their outputs; weights per output channel, activations per tensor;
leave biases, batch norms and activation functions alone; quantize the residual input of an addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from trt_int8.model.graph import GraphIndex, attribute

#: Operators whose kernels multiply in INT8.
MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Weight:
    """A constant operand: input ``slot`` of a node, channels along ``axis`` (None: one scale)."""

    slot: int
    axis: int | None


@dataclass(frozen=True)
class Site:
    """One node to quantize, all of it or nothing: INT8 kernels need both operands in INT8.

    Attributes:
        node: the node.
        activations: input slots to quantize per tensor.
        weights: constant operands.
        rule: the rule that asked for it.
    """

    node: onnx.NodeProto
    activations: tuple[int, ...]
    weights: tuple[Weight, ...]
    rule: str


def find_sites(index: GraphIndex) -> Iterator[Site]:
    """Every node that gets Q/DQ on its inputs, in graph order."""
    for node in index.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in MULTIPLYING:
            yield _multiplying(node, index)
        elif node.op_type == "Add":
            slot = _residual_slot(node, index)
            if slot is not None:
                yield Site(node, (slot,), (), "residual input of Add")


def weight_axis(node: onnx.NodeProto, slot: int, rank: int) -> int | None:
    """The axis of output channels of a constant operand; None where only one scale is allowed.

    Conv: 0. ConvTranspose: 1. Gemm: 0 of B with transB = 1, else 1; the other way round for a constant
    A. MatMul: columns of a constant B, rows of a constant A, matrices only: TensorRT has no per-channel
    scales for batches of matrices.
    """
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        transposed = attribute(node, "transB" if slot == 1 else "transA", 0)
        return int(bool(transposed) != (slot == 1))
    return (1 if slot == 1 else 0) if rank == 2 else None


def _multiplying(node: onnx.NodeProto, index: GraphIndex) -> Site:
    activations, weights = [], []
    for slot in (0, 1):
        value = index.constant(node.input[slot])
        if value is None:
            activations.append(slot)
        else:
            weights.append(Weight(slot, weight_axis(node, slot, value.ndim)))
    return Site(node, tuple(activations), tuple(weights), f"inputs of {node.op_type}")


def _residual_slot(node: onnx.NodeProto, index: GraphIndex) -> int | None:
    """Which input of an Add to quantize so that the sum fuses into the convolution behind the other.

    One input must come from a convolution that nothing else reads; of two such the later one fuses.
    """
    if any(index.is_constant(name) for name in node.input) or node.input[0] == node.input[1]:
        return None
    positions = {id(n): i for i, n in enumerate(index.graph.node)}
    fusing = {
        slot: positions[id(producer)]
        for slot in (0, 1)
        if (producer := _convolution_behind(node.input[slot], index)) is not None
    }
    if not fusing:
        return None
    fused = max(fusing, key=lambda slot: fusing[slot])
    return 1 - fused


def _convolution_behind(tensor: str, index: GraphIndex) -> onnx.NodeProto | None:
    """The convolution that makes ``tensor``, directly or through a batch norm, for one reader only."""
    while True:
        producer = index.producers.get(tensor)
        if producer is None or len(index.consumers.get(tensor, [])) != 1 or tensor in index.outputs:
            return None
        if producer.op_type in ("Conv", "ConvTranspose"):
            return producer
        if producer.op_type != "BatchNormalization":
            return None
        tensor = producer.input[0]

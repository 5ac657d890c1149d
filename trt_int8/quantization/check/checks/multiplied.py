"""Check for nodes that TensorRT accepts but does not multiply in INT8."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx
from onnx import helper

from trt_int8.graph.index import is_standard, opset_version
from trt_int8.graph.operators import MULTIPLYING, PASSING
from trt_int8.graph.tensors import ConstantOperands
from trt_int8.quantization.check.qdq import (
    DEQUANTIZE,
    NOT_CALIBRATED,
    QUANTIZE,
    Array,
    QdqGraph,
    axis_of,
    dequantized,
)
from trt_int8.quantization.check.register import Fault, check
from trt_int8.quantization.scales import output_channels, quantize_int8, weight_scales


@check("scale-rank", 200, "float", "make the scale a scalar")
def scale_rank(graph: QdqGraph) -> Iterator[Fault]:
    """Find single scales of shape [1], which TensorRT reads as per-channel scales."""
    for node in graph.linear:
        scale = graph.scale(node)
        if scale is not None and scale.shape == (1,):
            fix = partial(QdqGraph.set_parameters, nodes=[node], scale=scale.reshape(()))
            yield Fault(node, "its one scale has the shape [1], which counts as per channel", fix=fix)


@check("per-channel-activation", 210, "float", "use one scale, the largest")
def per_channel_activation(graph: QdqGraph) -> Iterator[Fault]:
    """Find activations with more than one scale."""
    for before, behind in graph.pairs():
        scale = graph.scale(before)
        if scale is not None and scale.size > 1 and not graph.index.is_constant(before.input[0]):
            message = f"the activation {before.input[0]!r} has {scale.size} scales, one for each channel"
            fix = partial(QdqGraph.set_parameters, nodes=[before, behind], scale=scale.max())
            yield Fault(before, message, fix=fix)


@check("weight-axis", 220, "float", "quantize the weight along its output channels")
def weight_axis(graph: QdqGraph) -> Iterator[Fault]:
    """Find weights whose scales do not run along the output channels."""
    for node, slot, dequantize in _weights(graph):
        values, scale = graph.weight(dequantize), graph.scale(dequantize)
        if values is None or scale is None or scale.size == 1:
            continue
        wanted = output_channels(node, slot, values.ndim, batches=True)
        found = axis_of(dequantize) % values.ndim
        if wanted != found:
            along = "no axis may have scales" if wanted is None else f"output channels are axis {wanted}"
            exact = dequantized(values, scale, graph.zero_point(dequantize), found)
            yield Fault(
                node,
                f"its weight {dequantize.input[0]!r} has scales along axis {found}, and {along}",
                fix=partial(_along, node=node, slot=slot, dequantize=dequantize, exact=exact, axis=wanted),
            )


def _along(
    graph: QdqGraph,
    node: onnx.NodeProto,
    slot: int,
    dequantize: onnx.NodeProto,
    exact: np.ndarray,
    axis: int | None,
) -> None:
    """Quantize the dequantized weight again along ``axis``, for this consumer."""
    scales = weight_scales(exact, axis)
    # Others may read the same weight along their own axis: this node gets a DequantizeLinear of its own.
    quantized = graph.add(dequantize.input[0], quantize_int8(exact, scales, axis))
    name = graph.fresh(f"{dequantize.output[0]}_axis")
    own = onnx.NodeProto()
    own.CopyFrom(dequantize)
    own.name, own.input[0], own.output[0] = name, quantized, name
    graph.set_parameters([own], scales, axis)
    graph.insert_before(node, own)
    node.input[slot] = name


@check("missing-pair", 230, "float", "quantize both operands")
def missing_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Find nodes of which only one operand is quantized."""
    constants = ConstantOperands(graph.index, opset_version(graph.model))
    for node, slot in half_quantized(graph):
        values = constants.value(node.input[slot])
        what = "activation" if values is None else "weight"
        message = f"its {what} {node.input[slot]!r} has no pair, the other operand has"
        if values is not None and values.size > 0 and np.isfinite(values.astype(np.float32)).all():
            yield Fault(node, message, fix=partial(_dequantize, node=node, slot=slot, values=values))
        else:
            yield Fault(node, message, NOT_CALIBRATED)


def _dequantize(graph: QdqGraph, node: onnx.NodeProto, slot: int, values: Array) -> None:
    """Let ``node`` read a constant operand as INT8."""
    axis = output_channels(node, slot, values.ndim)
    scales = weight_scales(values, axis)
    quantized = graph.add(f"{node.input[slot]}_quantized", quantize_int8(values, scales, axis))
    output = graph.fresh(f"{node.input[slot]}_dequantized")
    name = graph.fresh(f"{node.input[slot]}_DQ")
    new = helper.make_node(DEQUANTIZE, [quantized, quantized], [output], name)
    graph.set_parameters([new], scales, axis)
    graph.insert_before(node, new)
    node.input[slot] = output


def _weights(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, int, onnx.NodeProto]]:
    """Yield multiplying nodes, the slots of their INT8 weights, and the DequantizeLinear there."""
    for node in graph.index.graph.node:
        if node.op_type in MULTIPLYING and is_standard(node):
            for slot in (0, 1):
                dequantize = graph.dequantize_behind(node.input[slot])
                if dequantize is not None and graph.weight(dequantize) is not None:
                    yield node, slot, dequantize


def half_quantized(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Yield multiplying nodes of which one operand is quantized, and the slot of the other."""
    for node in graph.index.graph.node:
        if node.op_type in MULTIPLYING and is_standard(node):
            bare = [slot for slot in (0, 1) if not _is_quantized(graph, node.input[slot])]
            if len(bare) == 1:
                yield node, bare[0]


def _is_quantized(graph: QdqGraph, tensor: str) -> bool:
    """Return whether ``tensor`` holds INT8 values, directly or behind operators that only move them."""
    node = graph.index.producers.get(tensor)
    while node is not None and node.op_type in PASSING and is_standard(node):
        node = graph.index.producers.get(node.input[0])
    return node is not None and node.op_type in (DEQUANTIZE, QUANTIZE)

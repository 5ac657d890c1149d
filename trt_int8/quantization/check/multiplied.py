"""Checks of what is accepted and yet does not multiply in INT8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from trt_int8.graph.index import label, opset_version
from trt_int8.graph.operators import MULTIPLYING, PASSING
from trt_int8.graph.tensors import ConstantOperands
from trt_int8.quantization.check.qdq import DEQUANTIZE, QUANTIZE, Fault, QdqGraph, axis_of, dequantized
from trt_int8.quantization.scales import output_channels, quantize_int8, weight_scales


def scale_rank(graph: QdqGraph) -> Iterator[Fault]:
    """One scale with a dimension of its own: read as a scale per channel."""
    for node in graph.linear:
        scale = graph.scale(node)
        if scale is not None and scale.shape == (1,):
            yield Fault(label(node), "its one scale has the shape [1], which counts as per channel")


def fix_scale_rank(graph: QdqGraph) -> None:
    """Make them scalars."""
    for node in graph.linear:
        scale = graph.scale(node)
        if scale is not None and scale.shape == (1,):
            graph.set_parameters([node], scale.reshape(()))


def per_channel_activation(graph: QdqGraph) -> Iterator[Fault]:
    """More than one scale for an activation."""
    for before, _ in graph.pairs():
        scale = graph.scale(before)
        if scale is not None and scale.size > 1 and not graph.index.is_constant(before.input[0]):
            yield Fault(
                label(before), f"the activation {before.input[0]!r} has {scale.size} scales, one a channel"
            )


def fix_per_channel_activation(graph: QdqGraph) -> None:
    """Take the largest."""
    for before, behind in list(graph.pairs()):
        scale = graph.scale(before)
        if scale is not None and scale.size > 1 and not graph.index.is_constant(before.input[0]):
            graph.set_parameters([before, behind], scale.max())


def weight_axis(graph: QdqGraph) -> Iterator[Fault]:
    """Weights whose scales run along another axis than the output channels."""
    for node, slot, dequantize in _weights(graph):
        wanted, found = _axes(graph, node, slot, dequantize)
        if found is not None and wanted != found:
            along = "no axis may have scales" if wanted is None else f"output channels are axis {wanted}"
            yield Fault(
                label(node), f"its weight {dequantize.input[0]!r} has scales along axis {found}, and {along}"
            )


def fix_weight_axis(graph: QdqGraph) -> None:
    """Quantize the dequantized weight again along the right axis, for this reader."""
    for node, slot, dequantize in list(_weights(graph)):
        wanted, found = _axes(graph, node, slot, dequantize)
        values, scale = graph.weight(dequantize), graph.scale(dequantize)
        if found is None or wanted == found or values is None or scale is None:
            continue
        exact = dequantized(values, scale, graph.zero_point(dequantize), found)
        scales = weight_scales(exact, wanted)
        # Others may read the same weight along their own axis: this node gets a DequantizeLinear of its own.
        quantized = graph.add(dequantize.input[0], quantize_int8(exact, scales, wanted))
        name = graph.fresh(f"{dequantize.output[0]}_axis")
        own = onnx.NodeProto()
        own.CopyFrom(dequantize)
        own.name, own.input[0], own.output[0] = name, quantized, name
        graph.set_parameters([own], scales, wanted)
        graph.insert_before(node, own)
        node.input[slot] = name


def missing_pair(graph: QdqGraph) -> Iterator[Fault]:
    """Nodes one of whose operands is quantized and the other not."""
    constants = ConstantOperands(graph.index, opset_version(graph.model))
    for node, bare in half_quantized(graph):
        for slot in bare:
            weight = constants.value(node.input[slot])
            what = "weight" if weight is not None else "activation"
            fixable = (
                weight is not None and weight.size > 0 and bool(np.isfinite(weight.astype(np.float32)).all())
            )
            mend = None if fixable else "its range has to be calibrated: start from the float model"
            yield Fault(
                label(node),
                f"its {what} {node.input[slot]!r} has no pair, the other operand has",
                mend,
                fixable,
            )


def fix_missing_pair(graph: QdqGraph) -> None:
    """Quantize constant operands."""
    constants = ConstantOperands(graph.index, opset_version(graph.model))
    for node, bare in list(half_quantized(graph)):
        for slot in bare:
            values = constants.value(node.input[slot])
            if values is None or not values.size or not np.isfinite(values.astype(np.float32)).all():
                continue
            axis = output_channels(node, slot, values.ndim)
            scales = weight_scales(values, axis)
            quantized = graph.add(f"{node.input[slot]}_quantized", quantize_int8(values, scales, axis))
            output = graph.fresh(f"{node.input[slot]}_dequantized")
            new = helper.make_node(
                DEQUANTIZE, [quantized, quantized], [output], graph.fresh(f"{node.input[slot]}_DQ")
            )
            graph.set_parameters([new], scales, axis)
            graph.insert_before(node, new)
            node.input[slot] = output


def _weights(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, int, onnx.NodeProto]]:
    """Multiplying nodes, the slots of their INT8 weights, and the DequantizeLinear there."""
    for node in graph.index.graph.node:
        if node.op_type in MULTIPLYING:
            for slot in (0, 1):
                dequantize = graph.dequantize_behind(node.input[slot])
                if dequantize is not None and graph.weight(dequantize) is not None:
                    yield node, slot, dequantize


def _axes(
    graph: QdqGraph, node: onnx.NodeProto, slot: int, dequantize: onnx.NodeProto
) -> tuple[int | None, int | None]:
    """The axis of the output channels, and the one the scales run along (None: one scale)."""
    values, scale = graph.weight(dequantize), graph.scale(dequantize)
    assert values is not None
    wanted = output_channels(node, slot, values.ndim, batches=True)
    if scale is None or scale.size == 1:
        return wanted, None
    return wanted, axis_of(dequantize) % values.ndim


def half_quantized(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, list[int]]]:
    """Multiplying nodes one of whose operands is quantized, and the slot of the other."""
    for node in graph.index.graph.node:
        if node.op_type in MULTIPLYING:
            bare = [slot for slot in (0, 1) if not _is_quantized(graph, node.input[slot])]
            if len(bare) == 1:
                yield node, bare


def _is_quantized(graph: QdqGraph, tensor: str) -> bool:
    """Whether INT8 values stand behind ``tensor``, moved or not."""
    node = graph.index.producers.get(tensor)
    while node is not None and node.op_type in PASSING:
        node = graph.index.producers.get(node.input[0])
    return node is not None and node.op_type in (DEQUANTIZE, QUANTIZE)

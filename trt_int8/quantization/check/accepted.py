"""Checks of what TensorRT accepts at all: operators, opset, types, scales.

``quantize`` holds its own result against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import TensorProto

from trt_int8.graph.index import Use, attribute, is_standard, label, opset_version
from trt_int8.graph.operators import INTEGER, KEEPING_SIGN, KEEPING_SIGN_OF_ALL, NONNEGATIVE, PASSING
from trt_int8.graph.passes.opset_conversion import MINIMUM, with_minimum_opset
from trt_int8.quantization.check.multiplied import half_quantized
from trt_int8.quantization.check.qdq import (
    DEQUANTIZE,
    QUANTIZE,
    Fault,
    QdqGraph,
    axis_of,
    dequantized,
    requantize,
    to_float,
)
from trt_int8.quantization.scales import output_channels

#: Element types TensorRT dequantizes besides INT8.
_OTHER_LOW = frozenset([TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1])


def operators(graph: QdqGraph) -> Iterator[Fault]:
    """Integer operators, and Q/DQ of onnxruntime's own domain."""
    for node in graph.index.graph.node:
        if node.op_type in INTEGER or node.op_type.startswith("QLinear"):
            yield Fault(label(node), f"TensorRT does not import {node.op_type}")
        elif node.op_type in (QUANTIZE, DEQUANTIZE) and not is_standard(node):
            yield Fault(
                label(node), f"TensorRT imports {node.op_type} of the standard domain, not {node.domain}"
            )


def opset(graph: QdqGraph) -> Iterator[Fault]:
    """Scales per channel before the opset that has an axis."""
    version = opset_version(graph.model)
    for node in graph.linear:
        scale = graph.scale(node)
        if version < MINIMUM and (
            (scale is not None and scale.size > 1) or attribute(node, "axis", -99) != -99
        ):
            yield Fault(label(node), f"it has scales per channel, which opset {version} does not know")


def fix_opset(graph: QdqGraph) -> None:
    """Convert the model, and say along which axis the scales of weights run: the output channels."""
    graph.model.CopyFrom(with_minimum_opset(graph.model))
    graph.refresh()
    for node in graph.linear:
        scale, weight = graph.scale(node), graph.weight(node)
        if scale is None or scale.size == 1 or weight is None:
            continue
        for use in graph.readers(node.output[0])[:1]:
            axis = output_channels(use.node, use.slot, weight.ndim)
            if axis is not None and attribute(node, "axis", -99) == -99:
                node.attribute.append(onnx.helper.make_attribute("axis", axis))


def computed_scale(graph: QdqGraph) -> Iterator[Fault]:
    """Scales that depend on an input (seen to crash the builder of TensorRT-RTX)."""
    for node in graph.linear:
        if graph.scale(node) is None:
            yield Fault(label(node), f"its scale {node.input[1]!r} is computed, not constant")
        elif len(node.input) > 2 and node.input[2] and graph.zero_point(node) is None:
            yield Fault(label(node), f"its zero point {node.input[2]!r} is computed, not constant")


def int32_bias(graph: QdqGraph) -> Iterator[Fault]:
    """DequantizeLinear of INT32."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.dtype == np.int32:
            yield Fault(label(node), f"it dequantizes INT32 ({node.input[0]!r}, a bias)")


def fix_int32_bias(graph: QdqGraph) -> None:
    """Make the biases float initializers."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.dtype == np.int32:
            to_float(graph, node)


def scalar_constant(graph: QdqGraph) -> Iterator[Fault]:
    """DequantizeLinear of a constant without dimensions."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.ndim == 0:
            yield Fault(label(node), f"it dequantizes the scalar constant {node.input[0]!r}")


def fix_scalar_constant(graph: QdqGraph) -> None:
    """Make the constants float initializers."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.ndim == 0:
            to_float(graph, node)


def symmetric_int8(graph: QdqGraph) -> Iterator[Fault]:
    """Zero points other than 0, and types other than INT8."""
    for node in graph.linear:
        element = _element(graph, node)
        zero_point = graph.zero_point(node)
        if element is None or element in _OTHER_LOW or element == TensorProto.INT32:
            continue
        if element != TensorProto.INT8:
            name = TensorProto.DataType.Name(element)
            fault = f"its type is {name}" + (
                ", which is read as INT8" if element == TensorProto.UINT8 else ""
            )
            yield Fault(label(node), fault)
        elif zero_point is not None and zero_point.any():
            yield Fault(label(node), f"its zero point is {zero_point.flat[np.flatnonzero(zero_point)[0]]}")


def fix_symmetric_int8(graph: QdqGraph) -> None:
    """Quantize weights again, widen the scales of activations, write out the Relu a zero point implied."""
    faulty = {fault.node for fault in symmetric_int8(graph)}
    nodes = [node for node in graph.linear if label(node) in faulty and graph.scale(node) is not None]
    clipping = [node for node in nodes if _implies_relu(graph, node)]
    scales = {node.output[0]: _covering_scale(graph, node, _known(graph.scale(node))) for node in nodes}
    for node in clipping:
        _insert_relu(graph, node)
    for node in nodes:
        weight, values = graph.weight(node), _known(graph.scale(node))
        if weight is not None:
            channels = axis_of(node) % max(weight.ndim, 1)
            requantize(graph, node, dequantized(weight, values, graph.zero_point(node), channels))
        else:
            graph.set_parameters([node], scales[node.output[0]], axis_of(node) if values.ndim else None)


def _implies_relu(graph: QdqGraph, node: onnx.NodeProto) -> bool:
    """Whether a QuantizeLinear cuts off negative values that its input may have.

    Quantizers drop a Relu in front of one whose codes start at 0; with a symmetric scale it has to come back.
    """
    if node.op_type != QUANTIZE or not _starts_at_zero(graph, node):
        return False
    return not _is_nonnegative(graph, node.input[0])


def _starts_at_zero(graph: QdqGraph, node: onnx.NodeProto) -> bool:
    zero_point = graph.zero_point(node)
    lowest = 0 if _element(graph, node) in (TensorProto.UINT8, TensorProto.UINT16) else -128
    if _element(graph, node) == TensorProto.INT16:
        lowest = -32768
    return lowest == 0 if zero_point is None else bool((zero_point == lowest).all())


def _is_nonnegative(graph: QdqGraph, tensor: str) -> bool:
    node = graph.index.producers.get(tensor)
    if node is None or node.op_type in NONNEGATIVE:
        return True  # of inputs calibration has seen no negative values
    if node.op_type in (QUANTIZE, DEQUANTIZE) and _starts_at_zero(graph, node):
        return True
    if node.op_type in KEEPING_SIGN or node.op_type in KEEPING_SIGN_OF_ALL:
        deciding = node.input[:1] if node.op_type in KEEPING_SIGN else node.input
        return all(_is_nonnegative(graph, name) for name in deciding if name)
    return False


def _insert_relu(graph: QdqGraph, node: onnx.NodeProto) -> None:
    output = graph.fresh(f"{node.input[0]}_relu")
    relu = onnx.helper.make_node("Relu", [node.input[0]], [output], graph.fresh(f"{node.input[0]}_Relu"))
    graph.insert_before(node, relu)
    node.input[0] = output


def _known(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return values


def _covering_scale(graph: QdqGraph, node: onnx.NodeProto, values: np.ndarray) -> np.ndarray:
    """The symmetric scale whose range holds what the asymmetric one held."""
    limits: dict[int, tuple[int, int]] = {
        TensorProto.UINT8: (0, 255),
        TensorProto.UINT16: (0, 65535),
        TensorProto.INT16: (-32768, 32767),
    }
    lowest, highest = limits.get(_element(graph, node) or 0, (-128, 127))
    zero_point = graph.zero_point(node)
    shift = np.zeros_like(values) if zero_point is None else zero_point.astype(np.float64)
    steps = np.maximum(highest - shift, shift - lowest)
    # uint8 with zero point 128 is int8 shifted: the same scale, bit for bit.
    return np.asarray(np.where(steps == 128, values, values * steps / 127))


def _element(graph: QdqGraph, node: onnx.NodeProto) -> int | None:
    """The type of the quantized side of a Q or DQ node; None if it cannot be told."""
    for name in (
        node.input[2] if len(node.input) > 2 else "",
        node.input[0] if node.op_type == DEQUANTIZE else "",
    ):
        value = graph.index.constant(name) if name else None
        if value is not None:
            return int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    if node.op_type == DEQUANTIZE:
        before = graph.quantize_behind(node)
        return None if before is None else _element(graph, before)
    # Without a zero point and an output_dtype the type is uint8.
    return attribute(node, "output_dtype", 0) or TensorProto.UINT8


def scale(graph: QdqGraph) -> Iterator[Fault]:
    """Scales that are zero, negative, infinite or NaN."""
    for node in graph.linear:
        values = graph.scale(node)
        if values is not None and not ((values > 0) & np.isfinite(values)).all():
            worst = values[~((values > 0) & np.isfinite(values))].flat[0]
            weight = graph.weight(node)
            constant = weight is not None
            fixable = weight is None or bool(np.isfinite(values).all() and weight.dtype == np.int8)
            mend = None if constant else "the tensor was always zero or never calibrated: leave it in float"
            yield Fault(label(node), f"its scale is {worst:g}", mend, fixable)


def fix_scale(graph: QdqGraph) -> None:
    """Turn negative weights over, give zero channels scale 1, take dead pairs out.

    What multiplied a dead activation is left in float as a whole.
    """
    before = {label(node) for node, _ in half_quantized(graph)}
    for node in graph.linear:
        values, weight = graph.scale(node), graph.weight(node)
        if values is None or ((values > 0) & np.isfinite(values)).all():
            continue
        if weight is None:
            if node.op_type == DEQUANTIZE and graph.quantize_behind(node) is not None:
                graph.bypass(node)
        elif np.isfinite(values).all() and weight.dtype == np.int8:
            # w = s·q: a negative s turns over into q, a zero s makes w zero under any scale.
            exact = dequantized(weight, values, graph.zero_point(node), axis_of(node) % max(weight.ndim, 1))
            scales = np.where(values == 0, 1.0, np.abs(values))
            turned = dequantized(weight, np.sign(values), None, axis_of(node) % max(weight.ndim, 1))
            if turned.max(initial=0) > 127:
                requantize(graph, node, exact)
            else:
                node.input[0] = graph.add(node.input[0], turned.astype(np.int8))
                graph.set_parameters([node], scales, axis_of(node) if scales.ndim else None)
    graph.refresh()
    _leave_in_float([node for node, _ in half_quantized(graph) if label(node) not in before], graph)


def _leave_in_float(nodes: Iterable[onnx.NodeProto], graph: QdqGraph) -> None:
    """Take the pairs and INT8 weights from the operands of ``nodes``; other readers keep them."""
    weights: dict[str, tuple[onnx.NodeProto, list[Use]]] = {}
    for node in nodes:
        for slot in (0, 1):
            use = _behind_moves(Use(node, slot), graph)
            dequantize = graph.dequantize_behind(use.node.input[use.slot])
            if dequantize is None:
                continue
            if graph.weight(dequantize) is not None:
                weights.setdefault(dequantize.output[0], (dequantize, []))[1].append(use)
            elif graph.quantize_behind(dequantize) is not None:
                use.node.input[use.slot] = graph.float_tensor(dequantize.output[0])
    for dequantize, uses in weights.values():
        to_float(graph, dequantize, uses)


def _behind_moves(use: Use, graph: QdqGraph) -> Use:
    """The first of the moves before ``use`` that nothing else reads the result of."""
    while True:
        tensor = use.node.input[use.slot]
        node = graph.index.producers.get(tensor)
        shared = len(graph.readers(tensor)) > 1 or tensor in graph.index.outputs | graph.index.used_in_bodies
        if node is None or node.op_type not in PASSING or shared:
            return use
        use = Use(node, 0)

"""Check what TensorRT accepts at all: operators, opset, types, scales. ``quantize`` checks its own result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto

from trt_int8.graph.index import Use, attribute, is_standard, label, opset_version
from trt_int8.graph.operators import INTEGER, KEEPING_SIGN, KEEPING_SIGN_OF_ALL, NONNEGATIVE, PASSING
from trt_int8.graph.passes.opset_conversion import MINIMUM, with_minimum_opset
from trt_int8.quantization.check.checks.multiplied import half_quantized
from trt_int8.quantization.check.qdq import (
    DEQUANTIZE,
    QUANTIZE,
    QdqGraph,
    axis_of,
    dequantized,
    requantize,
    to_float,
)
from trt_int8.quantization.check.register import Fault, check
from trt_int8.quantization.scales import output_channels

#: The least and greatest value of types other than INT8.
_LIMITS: dict[int | None, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}
#: Element types TensorRT dequantizes besides INT8.
_OTHER_LOW = frozenset([TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1])


@check("operator", 100, "refused", "quantize the float model in the Q/DQ format")
def operators(graph: QdqGraph) -> Iterator[Fault]:
    """Find integer operators, and Q/DQ nodes of onnxruntime's own domain."""
    for node in graph.index.graph.node:
        if node.op_type in INTEGER or node.op_type.startswith("QLinear"):
            yield Fault(node, f"TensorRT does not import {node.op_type}")
        elif node.op_type in (QUANTIZE, DEQUANTIZE) and not is_standard(node):
            yield Fault(node, f"TensorRT imports {node.op_type} of the standard domain, not {node.domain}")


@check("opset", 110, "refused", "raise the opset to 13")
def opset(graph: QdqGraph) -> Iterator[Fault]:
    """Find per-channel scales below the opset that has an axis for them."""
    version = opset_version(graph.model)
    for node in graph.linear:
        scale = graph.scale(node)
        if version < MINIMUM and (
            (scale is not None and scale.size > 1) or attribute(node, "axis", -99) != -99
        ):
            message = f"it has per-channel scales, which opset {version} does not know"
            yield Fault(node, message, fix=_raise_opset)


def _raise_opset(graph: QdqGraph) -> None:
    """Convert the model, and set the axis of weight scales to the output channels."""
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


@check("computed-scale", 120, "refused", "export with constant scales and zero points")
def computed_scale(graph: QdqGraph) -> Iterator[Fault]:
    """Find scales that depend on an input (seen to crash the builder of TensorRT-RTX)."""
    for node in graph.linear:
        if graph.scale(node) is None:
            yield Fault(node, f"its scale {node.input[1]!r} is computed, not constant")
        elif len(node.input) > 2 and node.input[2] and graph.zero_point(node) is None:
            yield Fault(node, f"its zero point {node.input[2]!r} is computed, not constant")


@check("int32-bias", 130, "refused", "keep the bias in float")
def int32_bias(graph: QdqGraph) -> Iterator[Fault]:
    """Find DequantizeLinear of INT32."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.dtype == np.int32:
            message = f"it dequantizes INT32 ({node.input[0]!r}, a bias)"
            yield Fault(node, message, fix=partial(to_float, node=node))


@check("scalar-constant", 140, "refused", "keep the constant in float")
def scalar_constant(graph: QdqGraph) -> Iterator[Fault]:
    """Find DequantizeLinear of a constant without dimensions."""
    for node in graph.linear:
        values = graph.weight(node)
        if values is not None and values.ndim == 0:
            message = f"it dequantizes the scalar constant {node.input[0]!r}"
            yield Fault(node, message, fix=partial(to_float, node=node))


@check("symmetric-int8", 160, "refused", "use INT8 with zero point 0 and a scale that covers the same range")
def symmetric_int8(graph: QdqGraph) -> Iterator[Fault]:
    """Find zero points other than 0, and types other than INT8."""
    for node in graph.linear:
        element = _element(graph, node)
        zero_point = graph.zero_point(node)
        if element is None or element in _OTHER_LOW or element == TensorProto.INT32:
            continue
        if element != TensorProto.INT8:
            read = ", which is read as INT8" if element == TensorProto.UINT8 else ""
            yield Fault(node, f"its type is {TensorProto.DataType.Name(element)}{read}", fix=_make_symmetric)
        elif zero_point is not None and zero_point.any():
            value = zero_point.flat[np.flatnonzero(zero_point)[0]]
            yield Fault(node, f"its zero point is {value}", fix=_make_symmetric)


def _make_symmetric(graph: QdqGraph) -> None:
    """Quantize weights again, widen the scales of activations, add the Relu that a zero point implied."""
    faulty = [fault.node for fault in symmetric_int8(graph)]
    nodes = [(node, values) for node in faulty if (values := graph.scale(node)) is not None]
    clipping = [node for node, _ in nodes if _implies_relu(graph, node)]
    scales = {node.output[0]: _covering_scale(graph, node, values) for node, values in nodes}
    for node in clipping:
        output = graph.fresh(f"{node.input[0]}_relu")
        name = graph.fresh(f"{node.input[0]}_Relu")
        graph.insert_before(node, onnx.helper.make_node("Relu", [node.input[0]], [output], name))
        node.input[0] = output
    for node, values in nodes:
        weight = graph.weight(node)
        if weight is not None:
            channels = axis_of(node) % max(weight.ndim, 1)
            requantize(graph, node, dequantized(weight, values, graph.zero_point(node), channels))
        else:
            graph.set_parameters([node], scales[node.output[0]], axis_of(node) if values.ndim else None)


def _implies_relu(graph: QdqGraph, node: onnx.NodeProto) -> bool:
    """Return whether a QuantizeLinear clips negative values that its input may have.

    Quantizers drop a Relu in front of one whose codes start at 0; a symmetric scale needs it again.
    """
    return (
        node.op_type == QUANTIZE
        and _starts_at_zero(graph, node)
        and not _is_nonnegative(graph, node.input[0])
    )


def _starts_at_zero(graph: QdqGraph, node: onnx.NodeProto) -> bool:
    zero_point = graph.zero_point(node)
    lowest, _ = _LIMITS.get(_element(graph, node), (-128, 127))
    return lowest == 0 if zero_point is None else bool((zero_point == lowest).all())


def _is_nonnegative(graph: QdqGraph, tensor: str) -> bool:
    node = graph.index.producers.get(tensor)
    if node is None or node.op_type in NONNEGATIVE:
        return True  # calibration has seen no negative values of an input
    if node.op_type in (QUANTIZE, DEQUANTIZE) and _starts_at_zero(graph, node):
        return True
    if node.op_type in KEEPING_SIGN or node.op_type in KEEPING_SIGN_OF_ALL:
        deciding = node.input[:1] if node.op_type in KEEPING_SIGN else node.input
        return all(_is_nonnegative(graph, name) for name in deciding if name)
    return False


def _covering_scale(graph: QdqGraph, node: onnx.NodeProto, values: np.ndarray) -> np.ndarray:
    """Return the symmetric scale whose range covers that of the asymmetric one."""
    lowest, highest = _LIMITS.get(_element(graph, node), (-128, 127))
    zero_point = graph.zero_point(node)
    shift = np.zeros_like(values) if zero_point is None else zero_point.astype(np.float64)
    steps = np.maximum(highest - shift, shift - lowest)
    # uint8 with zero point 128 is int8 shifted: the same scale, bit for bit.
    return np.asarray(np.where(steps == 128, values, values * steps / 127))


def _element(graph: QdqGraph, node: onnx.NodeProto) -> int | None:
    """Return the type of the quantized side of a Q or DQ node; None if it is not known."""
    for value in (graph.zero_point(node), graph.weight(node)):
        if value is not None:
            return int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    if node.op_type == DEQUANTIZE:
        before = graph.quantize_behind(node)
        return None if before is None else _element(graph, before)
    # Without a zero point and an output_dtype the type is uint8.
    return attribute(node, "output_dtype", 0) or TensorProto.UINT8


@check("scale", 150, "refused", "scales must be positive and finite")
def scale(graph: QdqGraph) -> Iterator[Fault]:
    """Find scales that are zero, negative, infinite or NaN."""
    for node in graph.linear:
        values = graph.scale(node)
        if values is not None and not ((values > 0) & np.isfinite(values)).all():
            worst = values[~((values > 0) & np.isfinite(values))].flat[0]
            weight = graph.weight(node)
            repair = "the tensor was always zero or never calibrated: leave it in float"
            fixable = weight is None or (np.isfinite(values).all() and weight.dtype == np.int8)
            yield Fault(
                node,
                f"its scale is {worst:g}",
                None if weight is not None else repair,
                _make_positive if fixable else None,
            )


def _make_positive(graph: QdqGraph) -> None:
    """Negate weights with negative scales, give zero channels scale 1, take pairs of zero activations out.

    A node that multiplied such an activation is left in float as a whole.
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
            # w = s·q: the sign of s can go into q; a zero s makes w zero under any scale.
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
    """Return the first of the moves before ``use`` whose results have no other consumer."""
    while True:
        tensor = use.node.input[use.slot]
        node = graph.index.producers.get(tensor)
        shared = len(graph.readers(tensor)) > 1 or tensor in graph.index.outputs | graph.index.used_in_bodies
        if node is None or node.op_type not in PASSING or shared:
            return use
        use = Use(node, 0)

"""The check of scales: positive and finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx

from trt_int8.model.graph import Use, label
from trt_int8.model.operators import PASSING
from trt_int8.quantization.check.fault import Fault
from trt_int8.quantization.check.multiplied import half_quantized
from trt_int8.quantization.check.qdq import DEQUANTIZE, QdqGraph, axis_of, dequantized
from trt_int8.quantization.check.weights import requantize, to_float


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

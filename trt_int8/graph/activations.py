"""Find the activation functions that TensorRT fuses: single nodes, and the subgraphs that exporters write."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trt_int8.graph.index import GraphIndex, is_standard
from trt_int8.graph.operators import ACTIVATION_PARTS, ACTIVATIONS, GATES

_LONGEST = 12


def fused_activations(index: GraphIndex) -> frozenset[str]:
    """Return the first outputs of the nodes of every activation function of the graph."""
    standard = [node for node in index.graph.node if is_standard(node)]
    found = {node.output[0] for node in standard if node.op_type in ACTIVATIONS}
    for node in standard:
        if node.op_type == "Mul":
            for x in _sources(node, index):
                found.update(_pattern(node, x, index))
    return frozenset(found)


def _sources(product: onnx.NodeProto, index: GraphIndex) -> Iterator[str]:
    """Yield tensors that could be the x of an activation function that ends in ``product``."""
    for name in product.input:
        yield name
        producer = index.producers.get(name)
        # In (x · gate) · ½ and x · ½ · gate, x is an input of the previous product.
        if producer is not None and producer.op_type in ("Mul", "Div"):
            yield from producer.input


def _pattern(product: onnx.NodeProto, x: str, index: GraphIndex) -> set[str]:
    """Return the first outputs of the nodes between ``x`` and ``product`` if they are only a gate on x.

    Every path backward from the product must end in ``x`` or a constant, through elementwise nodes only.
    """
    if index.is_constant(x):
        return set()
    nodes: dict[str, onnx.NodeProto] = {product.output[0]: product}
    pending = list(product.input)
    for name in pending:
        if name == x or not name or index.is_constant(name):
            continue
        producer = index.producers.get(name)
        if producer is None or producer.op_type not in ACTIVATION_PARTS or not is_standard(producer):
            return set()
        if len(nodes) > _LONGEST:
            return set()
        if producer.output[0] not in nodes:
            nodes[producer.output[0]] = producer
            pending.extend(producer.input)
    gated = any(node.op_type in GATES for node in nodes.values())
    return set(nodes) if gated and sum(x in node.input for node in nodes.values()) > 1 else set()

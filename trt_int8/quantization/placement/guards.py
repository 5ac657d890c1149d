"""Rules that keep Q/DQ away."""

from __future__ import annotations

from onnx import AttributeProto

from trt_int8.model.graph import label
from trt_int8.quantization.activations import fused_activations as find_activations
from trt_int8.quantization.placement.draft import Draft


def bodies(draft: Draft) -> None:
    """If, Loop and Scan."""
    for node in draft.index.graph.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            draft.notes.append(f"{label(node)}: the body of {node.op_type} stays float")


def constant_operands(draft: Draft) -> None:
    """Nodes that compute a constant."""
    for node in draft.nodes:
        operands = [name for name in node.input[:2] if name]
        if operands and all(draft.constant(name) is not None for name in operands):
            draft.untouched.add(node.output[0])


def constant_addends(draft: Draft) -> None:
    """Add of a tensor and a constant: a bias, or a part of an activation function."""
    for node in draft.nodes:
        if node.op_type == "Add" and any(draft.constant(name) is not None for name in node.input):
            draft.untouched.add(node.output[0])


def fused_activations(draft: Draft) -> None:
    """The nodes an activation function is made of."""
    draft.untouched.update(find_activations(draft.index))

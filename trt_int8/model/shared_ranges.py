"""Find tensors that take another one's range, because an operator between them only passes values on."""

from __future__ import annotations

from collections.abc import Container

from trt_int8.model.graph import GraphIndex, is_standard
from trt_int8.model.operators import PASSING, VIEWS


def tied_outputs(index: GraphIndex, tensors: Container[str]) -> dict[str, str]:
    """Return each output of a passing operator with the first tensor of its chain that is in ``tensors``."""
    return _chains(index, PASSING, tensors)


def view_outputs(index: GraphIndex) -> dict[str, str]:
    """Return each output of a view operator with the tensor at the start of its chain of views."""
    return _chains(index, VIEWS, {name for name in index.order if not index.is_constant(name)})


def _chains(index: GraphIndex, operators: Container[str], tensors: Container[str]) -> dict[str, str]:
    roots: dict[str, str] = {}
    # A tensor outside ``tensors`` still carries the chain on, towards a start that may be inside.
    start: dict[str, str] = {}
    for node in index.graph.node:
        if node.op_type in operators and is_standard(node) and node.input:
            source, output = node.input[0], node.output[0]
            root = start.get(source, source)
            if root not in tensors:
                root = output
            start[output] = root
            if root != output and output in tensors:
                roots[output] = root
    return roots

"""Which tensors take another one's range because their operator only passes values on."""

from __future__ import annotations

from collections.abc import Container

from trt_int8.model.graph import GraphIndex

#: Operators whose output holds values of their first input and nothing else. TensorRT's own
#: calibration tables give a max-pool's output its input's scale, and a kernel that only moves INT8
#: values cannot change it.
PASSING = frozenset(
    ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Dropout"]
)


def tied_outputs(index: GraphIndex, tensors: Container[str]) -> dict[str, str]:
    """Output of a passing operator → the tensor at the start of its chain, both in ``tensors``."""
    ties: dict[str, str] = {}
    for node in index.graph.node:
        if node.op_type in PASSING and node.input and node.input[0] in tensors and node.output[0] in tensors:
            ties[node.output[0]] = ties.get(node.input[0], node.input[0])
    return ties

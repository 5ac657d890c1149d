"""The part of a graph that some of its tensors need."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from trt_int8.model.graph import reads
from trt_int8.model.unread import drop_unread


def part_of(model: onnx.ModelProto, outputs: Collection[str]) -> onnx.ModelProto:
    """A copy whose outputs are ``outputs``, with the nodes and weights they need; inputs that are fed stay.

    Args:
        model: its nodes are in topological order, as ONNX has it.
        outputs: tensors that nodes make, in the order wanted.
    """
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph, needed = part.graph, set(outputs)
    for position, node in reversed(list(enumerate(graph.node))):
        if needed.isdisjoint(node.output):
            del graph.node[position]
        else:
            needed |= reads(node)
    del graph.value_info[:]
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    drop_unread(part)
    return part

"""Remove constants that nothing reads, once a graph was rewritten."""

from __future__ import annotations

import onnx

from trt_int8.model.graph import GraphIndex


def remove_unused(model: onnx.ModelProto, *, index: GraphIndex | None = None) -> bool:
    """Remove Constant nodes and initializers, listed as inputs too, that nothing reads; in linear time."""
    index = index or GraphIndex(model)
    read = {*index.consumers, *index.outputs, *index.used_in_bodies}
    unread = {tensor.name for tensor in model.graph.initializer} - read
    changed = False
    for position, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type == "Constant" and not read.intersection(node.output):
            del model.graph.node[position]
            changed = True
    for entries in (model.graph.initializer, model.graph.input):
        for position, entry in reversed(list(enumerate(entries))):
            if entry.name in unread:
                del entries[position]
                changed = True
    return changed

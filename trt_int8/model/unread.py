"""What nothing reads any more, once a graph was rewritten."""

from __future__ import annotations

import onnx

from trt_int8.model.graph import GraphIndex


def drop_unread(model: onnx.ModelProto, index: GraphIndex | None = None) -> bool:
    """Remove Constant nodes and initializers, listed as inputs too, that nothing reads; in linear time.

    Args:
        model: changed in place.
        index: of ``model`` as it is, where there is one.

    Returns:
        Whether something was removed.
    """
    index = index or GraphIndex(model)
    before = len(model.graph.node), len(model.graph.initializer)
    read = {*index.consumers, *index.outputs, *index.used_in_bodies}
    unread = {tensor.name for tensor in model.graph.initializer} - read
    for position, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type == "Constant" and not read.intersection(node.output):
            del model.graph.node[position]
    for entries in (model.graph.initializer, model.graph.input):
        for position, entry in reversed(list(enumerate(entries))):
            if entry.name in unread:
                del entries[position]
    return before != (len(model.graph.node), len(model.graph.initializer))

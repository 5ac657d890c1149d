"""Choose the outputs of a graph, and remove what these do not need."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from trt_int8.graph.index import GraphIndex, reads


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


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` that has the tensors ``names`` among its outputs.

    Args:
        model: never changed.
        names: tensors that nodes compute; those that are outputs already stay where they are. The new outputs
            have no types: onnxruntime infers them.
    """
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return extended


def part_of(model: onnx.ModelProto, outputs: Collection[str]) -> onnx.ModelProto:
    """Return a copy whose outputs are ``outputs``, with the nodes and weights they need; fed inputs stay.

    Args:
        model: its nodes are in topological order, as ONNX has it; never changed.
        outputs: tensors that nodes compute, in the order wanted.
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
    remove_unused(part)
    return part

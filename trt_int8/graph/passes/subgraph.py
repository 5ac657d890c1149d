"""Choose the outputs of a graph, and remove unused nodes and weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from trt_int8.graph.index import GraphIndex, reads


def remove_unused(model: onnx.ModelProto, *, index: GraphIndex | None = None) -> bool:
    """Remove unused Constant nodes and initializers, also where they are listed as inputs, in linear time."""
    index = index or GraphIndex(model)
    read = {*index.consumers, *index.outputs, *index.used_in_bodies}
    unused = {tensor.name for tensor in model.graph.initializer} - read
    changed = False
    for position, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type == "Constant" and not read.intersection(node.output):
            del model.graph.node[position]
            changed = True
    for entries in (model.graph.initializer, model.graph.input):
        for position, entry in reversed(list(enumerate(entries))):
            if entry.name in unused:
                del entries[position]
                changed = True
    return changed


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` with the computed tensors ``names`` as additional outputs.

    The new outputs have no types: onnxruntime infers them.
    """
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return extended


def part_of(model: onnx.ModelProto, outputs: Collection[str]) -> onnx.ModelProto:
    """Return a copy whose outputs are the computed tensors ``outputs``, with the nodes and weights they need.

    Fed inputs stay. The nodes must be in topological order, as ONNX requires.
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

"""Choose the outputs of a graph: more of them, to see inner tensors; or others, and only what those need."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from trt_int8.model.graph import reads
from trt_int8.model.passes.unused_removal import remove_unused


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

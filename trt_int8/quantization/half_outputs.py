"""Outputs that no node makes, around the conversion to FP16.

The converter has a Cast make each output. An input or an initializer that is an output itself has no node
that could be redirected, so such outputs are taken away before it and given back after it. A Constant that
is an output becomes such an initializer: its Cast would come after the rounding.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper

from trt_int8.model.graph import GraphIndex, Names, all_nodes


def take_outputs(model: onnx.ModelProto) -> list[tuple[int, onnx.ValueInfoProto]]:
    """Take float32 outputs that no node makes out of ``model``, in place.

    Nodes then read a copy of an initializer among them, so that it keeps its float32 values.

    Returns:
        what `give_outputs` takes: the place of each among the outputs, and the output.
    """
    _move_constants(model)
    index, graph = GraphIndex(model), model.graph
    taken = []
    for place, output in enumerate(graph.output):
        if output.type.tensor_type.elem_type == TensorProto.FLOAT and output.name not in index.producers:
            kept = onnx.ValueInfoProto()
            kept.CopyFrom(output)
            taken.append((place, kept))
    for place, _ in reversed(taken):
        del graph.output[place]
    _copy_initializers(graph, {output.name for _, output in taken}, Names(index))
    return taken


def give_outputs(model: onnx.ModelProto, taken: list[tuple[int, onnx.ValueInfoProto]]) -> None:
    """Put back what `take_outputs` took, in place."""
    for place, output in taken:
        model.graph.output.insert(place, output)


def _move_constants(model: onnx.ModelProto) -> None:
    index, graph = GraphIndex(model), model.graph
    for position, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "Constant" and node.output[0] in index.outputs:
            value = index.constant(node.output[0])
            if value is not None:
                graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
                del graph.node[position]


def _copy_initializers(graph: onnx.GraphProto, wanted: set[str], names: Names) -> None:
    read = {name for node in all_nodes(graph) for name in node.input}
    copies = {}
    for tensor in [t for t in graph.initializer if t.name in wanted & read]:
        copies[tensor.name] = names.fresh(f"{tensor.name}_half")
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = copies[tensor.name]
    for node in all_nodes(graph):
        for slot, name in enumerate(node.input):
            node.input[slot] = copies.get(name, name)

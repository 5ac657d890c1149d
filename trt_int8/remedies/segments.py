"""Run a model piece by piece, so that what one piece computes can be changed before the next one runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from trt_int8.batches.check import Batch
from trt_int8.errors import ModelError
from trt_int8.model.graph import GraphIndex, reads
from trt_int8.model.model import Model
from trt_int8.runtime import Session

Array = npt.NDArray[np.generic]


def run_in_segments(
    model: onnx.ModelProto | Model, ends: Sequence[str], batches: Sequence[Batch]
) -> Iterator[tuple[str, list[dict[str, Array]]]]:
    """Run all batches up to each of ``ends``; one pass over the graph in all.

    Args:
        model: never changed; its bodies stay whole.
        ends: tensors that nodes compute, in graph order.
        batches: what the model is fed.

    Yields:
        (an end, for each batch the tensors that the rest of the graph reads). What the caller replaces in
        these is what the next nodes read. Nodes behind the last end do not run.

    Raises:
        ModelError: onnxruntime cannot run a piece, or something else than arrays passes from one to the next.
    """
    known = Model.unchecked(model)
    index, proto = known.index, known.proto
    nodes = [node for node in proto.graph.node if node.op_type != "Constant"]
    position = {name: i for i, node in enumerate(nodes) for name in node.output}
    last_use: dict[str, int] = {}
    for i, node in enumerate(nodes):
        last_use.update(dict.fromkeys(reads(node), i))
    state = [dict(batch) for batch in batches]
    start = 0
    for end in ends:
        stop = position[end] + 1
        piece = nodes[start:stop]
        made = {name for node in piece for name in node.output if name}
        wanted = [name for name in made if last_use.get(name, -1) >= stop or name == end]
        fed = {name for node in piece for name in reads(node)} - made
        crossing = [name for name in state[0] if name in fed]
        if strange := [name for name in crossing if not isinstance(state[0][name], np.ndarray)]:
            raise ModelError(f"the model cannot be run piece by piece: {strange[0]!r} is no tensor")
        session = _session(proto, piece, crossing, wanted, state[0], index)
        for i, values in enumerate(state):
            inputs = {name: values[name] for name in values if name in fed}
            values.update(zip(wanted, session.run(inputs, wanted, place=f"batch {i}"), strict=True))
            for name in [name for name in values if last_use.get(name, -1) < stop and name != end]:
                del values[name]
        yield end, state
        start = stop


def _session(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[str],
    values: Batch,
    index: GraphIndex,
) -> Session:
    read = {name for node in nodes for name in reads(node)}
    constants = [n for n in model.graph.node if n.op_type == "Constant" and read.intersection(n.output)]
    graph = helper.make_graph(
        [*constants, *nodes],
        "piece",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name].dtype), None)
            for name in inputs
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    piece = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    return Session(piece, optimize=False)

"""Correct biases for the mean error that quantization introduces.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(arXiv:1906.04721), section 4.2, the empirical form: node by node in graph order, E[y − ŷ] per output
channel, measured after all nodes before it are corrected. For this the model runs in segments, and the
results of one can be changed before the next one runs (`run_in_segments`).

One sample that is clipped badly must not shift all others: E is the mean of the middle half of the samples,
with its variance from the winsorized ones (J. W. Tukey and D. H. McLaughlin, Sankhyā A 25, 1963; K. K. Yuen,
Biometrika 61, 1974). A mean over few samples is uncertain and is reduced by its uncertainty: the
positive-part estimator of W. James and C. Stein, "Estimation with Quadratic Loss" (1961), channel by channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from trt_int8 import progress
from trt_int8.batches.check import Batch, count_samples
from trt_int8.correction.addends import Addends
from trt_int8.errors import ModelError
from trt_int8.graph.index import GraphIndex, reads
from trt_int8.graph.model import Model
from trt_int8.graph.operators import BIASED
from trt_int8.graph.passes.subgraph import with_outputs
from trt_int8.graph.runtime import Session
from trt_int8.graph.tensors import ConstantOperands

Array = npt.NDArray[np.generic]
Means = npt.NDArray[np.float64]


def run_in_segments(
    model: onnx.ModelProto | Model, ends: Sequence[str], batches: Sequence[Batch]
) -> Iterator[tuple[str, list[dict[str, Array]]]]:
    """Run all batches up to each of ``ends``; each node runs once.

    Args:
        model: never changed; its bodies stay whole.
        ends: tensors that nodes compute, in graph order.
        batches: the inputs.

    Yields:
        (an end, for each batch the tensors that the rest of the graph reads). The caller may replace tensors
        in these before the next segment runs. Nodes behind the last end do not run.

    Raises:
        ModelError: onnxruntime cannot run a segment, or a value between two segments is not an array.
    """
    proto = Model.unchecked(model).proto
    nodes = [node for node in proto.graph.node if node.op_type != "Constant"]
    position = {name: i for i, node in enumerate(nodes) for name in node.output}
    last_use: dict[str, int] = {}
    for i, node in enumerate(nodes):
        last_use.update(dict.fromkeys(reads(node), i))
    state = [dict(batch) for batch in batches]
    start = 0
    for end in ends:
        stop = position[end] + 1
        segment = nodes[start:stop]
        made = {name for node in segment for name in node.output if name}
        wanted = [name for name in made if last_use.get(name, -1) >= stop or name == end]
        fed = {name for node in segment for name in reads(node)} - made
        crossing = [name for name in state[0] if name in fed]
        if strange := [name for name in crossing if not isinstance(state[0][name], np.ndarray)]:
            raise ModelError(f"the model cannot be run in segments: {strange[0]!r} is not a tensor")
        session = _session(proto, segment, {name: state[0][name] for name in crossing}, wanted)
        for i, values in enumerate(state):
            inputs = {name: values[name] for name in values if name in fed}
            values.update(zip(wanted, session.run(inputs, wanted, place=f"batch {i}"), strict=True))
            for name in [name for name in values if last_use.get(name, -1) < stop and name != end]:
                del values[name]
        yield end, state
        start = stop


def _session(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], inputs: Batch, outputs: Sequence[str]
) -> Session:
    """Return a session of ``nodes`` of ``model`` that takes inputs like ``inputs``."""
    read = {name for node in nodes for name in reads(node)}
    constants = [n for n in model.graph.node if n.op_type == "Constant" and read.intersection(n.output)]
    graph = helper.make_graph(
        [*constants, *nodes],
        "segment",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    opsets, functions = model.opset_import, model.functions
    segment = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=model.ir_version)
    return Session(segment, optimize=False)


def correct_bias(
    reference: onnx.ModelProto | Model, quantized: onnx.ModelProto, batches: Sequence[Batch]
) -> onnx.ModelProto:
    """Return a copy of ``quantized`` whose Conv, Gemm and MatMul by a weight have the means of ``reference``.

    Only constants change: a MatMul without an Add of a constant behind it stays as it is.

    Args:
        reference: the float model.
        quantized: the same with Q/DQ nodes.
        batches: checked calibration batches, two samples or more; each model runs over them once.

    Raises:
        ModelError: onnxruntime cannot run a model.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantized)
    known, given = Model.unchecked(reference), Model(quantized)
    index = known.index
    addends = Addends(corrected)
    outputs = [n for n in _multiplied(given) if n in index.producers and addends.has_room(n)]
    if not outputs or count_samples(batches, known.inputs) < 2:
        return corrected
    wanted = _means(known, outputs, batches)
    segments = run_in_segments(given, outputs, batches)
    for output, state in progress.track(segments, "correcting biases", total=len(outputs), unit="nodes"):
        axis = _channel_axis(output, index, state[0][output].ndim)
        found = np.concatenate([_sample_means(values[output], axis) for values in state])
        if found.shape != wanted[output].shape or len(found) < 2:
            continue  # the number of rows depends on values, or there is only one
        correction = shrunk(wanted[output] - found)
        addends.add_per_channel(output, correction)
        for values in state:
            array = values[output]
            shape = [-1 if i == axis else 1 for i in range(array.ndim)]
            values[output] = array + correction.reshape(shape).astype(array.dtype)
    return corrected


def shrunk(differences: Means) -> Means:
    """Return the mean m of the middle half of the samples, times 1 − u / m² or 0; u is the variance of m.

    Args:
        differences: [samples, channels], two samples or more.

    Returns:
        [channels].
    """
    count = len(differences)
    cut = count // 4
    ordered = np.sort(differences, axis=0)
    middle = ordered[cut : count - cut]
    mean = middle.mean(axis=0)
    winsorized = ordered.clip(middle[0], middle[-1])
    squares = np.square(winsorized - winsorized.mean(axis=0)).sum(axis=0)
    uncertainty = squares / (len(middle) * (len(middle) - 1))
    square = np.square(mean)
    kept = np.divide(square - uncertainty, square, out=np.zeros_like(mean), where=square > uncertainty)
    return np.asarray(mean * kept)


def _multiplied(model: Model) -> list[str]:
    """Return the outputs of nodes that multiply dequantized activations by a weight, in graph order."""
    index = model.index
    weights = ConstantOperands(index, model.opset)

    def dequantized(name: str) -> bool:
        return name in index.producers and index.producers[name].op_type == "DequantizeLinear"

    def rank(name: str) -> int | None:
        value = weights.value(index.producers[name].input[0] if dequantized(name) else name)
        return None if value is None else value.ndim

    return [
        node.output[0]
        for node in index.graph.node
        if node.op_type in BIASED
        and dequantized(node.input[0])
        and rank(node.input[0]) is None
        and (rank(node.input[1]) or 0) > 1  # a product by a vector has no channels
    ]


def _means(model: Model, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Means]:
    session = Session(with_outputs(model.proto, names), optimize=False)
    means: dict[str, list[Means]] = {name: [] for name in names}
    for number, batch in enumerate(batches):
        for name, values in zip(names, session.run(batch, names, place=f"batch {number}"), strict=True):
            means[name].append(_sample_means(values, _channel_axis(name, model.index, values.ndim)))
    return {name: np.concatenate(found) for name, found in means.items()}


def _sample_means(values: npt.NDArray[np.generic], axis: int) -> Means:
    """Return means, [samples, channels]; axis 0 is that of the samples, unless it is that of the channels."""
    array = values[None] if axis == 0 else values
    others = tuple(i for i in range(1, array.ndim) if i != (axis or 1))
    return array.astype(np.float64).mean(axis=others) if others else array.astype(np.float64)


def _channel_axis(name: str, index: GraphIndex, rank: int) -> int:
    """Return axis 1 for the output of a Conv or the BatchNormalization behind it, else the last axis."""
    return 1 if index.producers[name].op_type in ("Conv", "BatchNormalization") else rank - 1

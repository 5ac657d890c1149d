"""Quantize x − μ instead of x: symmetric INT8 for tensors whose values are not centred at 0.

A linear node computes f(x) = f(x − μ) + μ·f(1), f without its bias; the second term is constant. For a Conv
that pads, f(1) differs at the border, where the padding stays zero. There the map μ·Conv(1, W), computed
with the float weights, is added behind the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from trt_int8.batches.check import Batch
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.run import collect
from trt_int8.correction.addends import Addends
from trt_int8.correction.offsets import Offset, best_offset
from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, Use, attribute, label, opset_version
from trt_int8.graph.operators import BIASED
from trt_int8.graph.runtime import Session
from trt_int8.graph.tensors import ConstantOperands
from trt_int8.patterns import matching, nearest
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges

Floats = npt.NDArray[np.float64]
#: Tensor → sizes, None where they are dynamic.
Shapes = Mapping[str, tuple[int | None, ...]]


def centred_name(tensor: str) -> str:
    """Return the name of the tensor x − μ."""
    return f"{tensor}_centred"


def recentre(model: onnx.ModelProto, offsets: Mapping[str, float]) -> onnx.ModelProto:
    """Return a copy of a float model in which the consumers of each tensor read ``x − μ`` instead.

    The outputs of the model stay the same, up to rounding. New tensors are called `centred_name`.

    Args:
        model: the float model.
        offsets: tensor → μ.

    Raises:
        QuantizationError: a tensor cannot be recentred; the message says why.
        MissingDependencyError: onnxruntime is not installed.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor, offset in offsets.items():
        reason = refusals(changed, [tensor])[tensor]
        if reason is not None:
            raise QuantizationError(f"{tensor!r} cannot be recentred: {reason}")
        _recentre(changed, tensor, offset)
    return changed


def refusals(model: onnx.ModelProto, tensors: Iterable[str] | None = None) -> dict[str, str | None]:
    """Return tensor → the reason that it cannot be recentred, None if it can; of all, in graph order."""
    index = GraphIndex(model)
    constants, shapes = ConstantOperands(index, opset_version(model)), _shapes(model)
    names = index.order if tensors is None else tensors
    return {name: _refusal(name, index, constants, shapes) for name in names}


def recentrable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the tensors that can be recentred, in graph order."""
    return tuple(name for name, reason in refusals(model).items() if reason is None)


def _refusal(tensor: str, index: GraphIndex, constants: ConstantOperands, shapes: Shapes) -> str | None:
    uses = index.consumers.get(tensor, [])
    if tensor not in index.order:
        return "the model computes no such tensor"
    if tensor in index.outputs:
        return "it is an output of the model"
    if tensor in index.used_in_bodies:
        return "it is read inside If, Loop or Scan"
    if not uses:
        return "it has no consumer"
    if centred_name(tensor) in index.names:
        return f"the model has a tensor {centred_name(tensor)!r} already"
    for use in uses:
        reason = _use_refusal(use, constants, shapes)
        if reason is not None:
            return f"{label(use.node)}: {reason}"
    return None


def _use_refusal(use: Use, constants: ConstantOperands, shapes: Shapes) -> str | None:
    node = use.node
    if node.op_type not in BIASED:
        return f"{node.op_type} reads it, and only Conv, Gemm and MatMul may"
    if use.slot == 1 and node.op_type != "MatMul":
        return "it is read as a weight"
    if use.slot > 1:
        return "it is read as a bias"
    other = constants.value(node.input[1 - use.slot])
    if other is None:
        return "the other operand is not constant"
    if other.dtype != np.float32:
        return f"the weights are {other.dtype}, and only float32 is recentred"
    if node.op_type == "MatMul" and use.slot == 0 and other.ndim < 2:
        return "the weight is a vector"
    if node.op_type == "Conv" and _pads(node):
        shape = shapes.get(node.input[0])
        if shape is None or any(size is None for size in shape[1:]):
            return "it pads, and the height and width of its input are dynamic; fix them"
    return None


def _recentre(model: onnx.ModelProto, tensor: str, offset: float) -> None:
    index = GraphIndex(model)
    constants = ConstantOperands(index, opset_version(model))
    shapes = _shapes(model)
    addends = Addends(model)
    new = addends.names.fresh(centred_name(tensor))
    terms = []
    for use in index.consumers[tensor]:
        weight = np.asarray(constants.value(use.node.input[1 - use.slot]))
        terms.append((use.node.output[0], _term(use, weight, offset, shapes.get(tensor))))
        use.node.input[use.slot] = new
    for output, (per_channel, behind) in terms:
        if per_channel is not None:
            addends.add_per_channel(output, per_channel)
        if behind is not None:
            addends.add_behind(output, behind)
    constant = addends.constant(np.asarray(offset, np.float32), f"{tensor}_middle")
    node = helper.make_node("Sub", [tensor, constant], [new], addends.names.fresh(f"{tensor}_recentre"))
    nodes = model.graph.node
    made = next((i + 1 for i, n in enumerate(nodes) if tensor in n.output), 0)
    nodes.insert(made, node)


def _term(
    use: Use, weight: npt.NDArray[np.generic], offset: float, shape: tuple[int | None, ...] | None
) -> tuple[Floats | None, Floats | None]:
    """Return μ·f(1): per output channel, or as an array to add behind the node."""
    node, w = use.node, weight.astype(np.float64)
    if node.op_type == "Conv":
        if not _pads(node):
            return offset * w.sum(axis=tuple(range(1, w.ndim))), None
        assert shape is not None
        return None, _padded_map(node, weight, offset, shape)
    if node.op_type == "Gemm":
        alpha = next((a.f for a in node.attribute if a.name == "alpha"), 1.0)
        return offset * alpha * w.sum(axis=1 if attribute(node, "transB", 0) else 0), None
    if use.slot == 1:
        return None, offset * w.sum(axis=-1, keepdims=True)
    return None, offset * w.sum(axis=-2, keepdims=w.ndim > 2)


def _padded_map(
    node: onnx.NodeProto, weight: npt.NDArray[np.generic], offset: float, shape: tuple[int | None, ...]
) -> Floats:
    """Return μ·Conv(1, W) [1, output channels, …] with the padding, strides and groups of the node."""
    size = [1, *(int(s or 0) for s in shape[1:])]
    conv = onnx.NodeProto()
    conv.CopyFrom(node)
    del conv.input[:], conv.output[:]
    conv.input.extend(["ones", "w"])
    conv.output.append("map")
    graph = helper.make_graph(
        [conv],
        "map",
        [helper.make_tensor_value_info("ones", TensorProto.FLOAT, size)],
        [onnx.ValueInfoProto(name="map")],
        [onnx.numpy_helper.from_array(np.asarray(weight, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    ones = np.ones(size, np.float32)
    (result,) = Session(model, optimize=False).run({"ones": ones}, ["map"], place="the constant map")
    return np.asarray(offset * result.astype(np.float64))


def _pads(node: onnx.NodeProto) -> bool:
    mode = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
    pads = next((list(a.ints) for a in node.attribute if a.name == "pads"), [])
    return mode not in (b"NOTSET", b"VALID", b"") or any(pads)


def _shapes(model: onnx.ModelProto) -> Shapes:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
        )
        for value in [*graph.input, *graph.value_info, *graph.output]
        if value.type.tensor_type.HasField("shape")
    }


def candidates(
    model: onnx.ModelProto,
    plain: Quantized,
    globs: Sequence[str],
    *,
    ranges: Ranges,
    histograms: Histograms,
    held_back: Sequence[Batch],
) -> tuple[dict[str, Offset], tuple[str, ...]]:
    """Return the tensors to try in graph order, with their offsets; and those passed over, with the reasons.

    Args:
        model: the float model.
        plain: the same, quantized.
        globs: names and globs of tensors.
        ranges, histograms: of its tensors.
        held_back: batches that offsets are chosen on (`best_offset`).

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, or a glob matches none.
    """
    matched: set[str] = set()
    for glob in globs:
        found = matching(glob, list(histograms.tensors))
        if not found:
            near = nearest(glob, list(histograms.tensors))
            raise QuantizationError(f"recentred={glob!r} matches no tensor; {near}")
        matched.update(found)
    wanted = [name for name in histograms.tensors if name in matched]
    reasons = refusals(model, wanted)
    for name in wanted:
        if reasons[name] is None and name not in plain.scales:
            reasons[name] = "its consumers stay float"
    possible = [name for name in wanted if reasons[name] is None]
    unseen = collect(model, held_back, tensors=possible).tensors if possible else {}
    offsets: dict[str, Offset] = {}
    for name in possible:
        offset = best_offset(histograms.tensors[name], unseen=unseen[name], amax=ranges[name].amax)
        if offset is None:
            reasons[name] = "all its values are equal"
        else:
            offsets[name] = offset
    for name, reason in reasons.items():
        if reason is not None and name in globs:
            raise QuantizationError(f"{name!r} cannot be recentred: {reason}")
    passed_over = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    return offsets, tuple(passed_over)

"""Fold BatchNormalization into the convolution before it: y = γ (W∗x + b − μ) / √(σ² + ε) + β."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from trt_int8.graph.index import GraphIndex, Names, attribute
from trt_int8.graph.passes.subgraph import remove_unused


def foldable_norm(convolution: onnx.NodeProto, index: GraphIndex) -> onnx.NodeProto | None:
    """Return the BatchNormalization that can be folded exactly into ``convolution``, or None.

    It must be the only consumer of the convolution and be in inference mode, and every parameter of both must
    be constant. The convolution's output must not be a model output or be used in a body.
    """
    tensor = convolution.output[0]
    uses = index.consumers.get(tensor, [])
    if len(uses) != 1 or tensor in index.outputs or tensor in index.used_in_bodies:
        return None
    norm = uses[0].node
    if norm.op_type != "BatchNormalization" or uses[0].slot != 0:
        return None
    if any(norm.output[1:]) or attribute(norm, "training_mode", 0) or not attribute(norm, "spatial", 1):
        return None
    parameters = [*convolution.input[1:], *norm.input[1:]]
    if any(name and not index.is_constant(name) for name in parameters):
        return None
    return norm


def normalized_weight(
    weight: npt.NDArray[np.generic], norm: onnx.NodeProto, index: GraphIndex
) -> npt.NDArray[np.generic]:
    """Return W · γ / √(σ² + ε) along axis 0, in W's dtype: the weight with ``norm`` folded into it."""
    factor = _factor(norm, index).reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(weight.astype(np.float64) * factor).astype(weight.dtype)


def fold_batch_norms(
    model: onnx.ModelProto, *, folds: Mapping[str, onnx.NodeProto], index: GraphIndex | None = None
) -> bool:
    """Fold BatchNormalizations into the convolutions before them, and remove unused constants.

    The convolution gets the name of the normalized tensor. Weights that other nodes share are kept for them.
    ``folds`` maps the first output of a convolution to the result of `foldable_norm`.
    """
    index = index or GraphIndex(model)
    gone, names = [], Names(index)
    for node in [n for n in model.graph.node if n.output and n.output[0] in folds]:
        norm = folds[node.output[0]]
        _fold(model, node, norm, index, names)
        gone.append(norm.output[0])
    for node in [n for n in model.graph.node if n.op_type == "BatchNormalization" and n.output[0] in gone]:
        model.graph.node.remove(node)
    removed = remove_unused(model, index=None if gone else index)
    return bool(gone) or removed


def _fold(
    model: onnx.ModelProto, node: onnx.NodeProto, norm: onnx.NodeProto, index: GraphIndex, names: Names
) -> None:
    weight = np.asarray(index.constant(node.input[1]))
    beta, mean = (np.asarray(index.constant(norm.input[slot]), np.float64) for slot in (2, 3))
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = np.asarray(index.constant(node.input[2]), np.float64) if has_bias else np.zeros_like(mean)
    shift = (bias - mean) * _factor(norm, index) + beta
    folded = {
        names.fresh(f"{node.input[1]}_folded"): normalized_weight(weight, norm, index),
        names.fresh(f"{norm.output[0]}_bias"): shift.astype(weight.dtype),
    }
    for name, value in folded.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    inputs = [node.input[0], *folded]
    del node.input[:]
    node.input.extend(inputs)
    node.output[0] = norm.output[0]


def _factor(norm: onnx.NodeProto, index: GraphIndex) -> npt.NDArray[np.float64]:
    """Return γ / √(σ² + ε), float64 [channels]."""
    gamma, variance = (np.asarray(index.constant(norm.input[slot]), np.float64) for slot in (1, 4))
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    return np.asarray(gamma / np.sqrt(variance + epsilon))

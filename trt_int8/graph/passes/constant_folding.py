"""Replace nodes that do not depend on an input by constants: scalars and shapes that exporters leave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, numpy_helper

from trt_int8.graph.index import GraphIndex, is_standard, opset_version
from trt_int8.graph.operators import QDQ, RANDOM
from trt_int8.graph.passes.subgraph import remove_unused
from trt_int8.graph.tensors import evaluate_node, static_shapes

#: Elements of the largest result that is stored, so that weights are not touched.
LARGEST = 1024
#: Not folded: Q/DQ nodes, which TensorRT needs, and random values, which are not constant.
_LEFT = frozenset(["Constant", *QDQ, *RANDOM])


def fold_constants(model: onnx.ModelProto, *, index: GraphIndex | None = None) -> bool:
    """Replace nodes whose results depend only on constants and static shapes by initializers.

    Results have at most `LARGEST` elements. Nodes of outputs and of tensors that bodies read are kept. Unused
    constants are removed.
    """
    index = index or GraphIndex(model)
    shapes = static_shapes(model) if any(n.op_type in ("Shape", "Size") for n in model.graph.node) else {}
    kept = index.outputs | index.used_in_bodies
    known: dict[str, npt.NDArray[np.generic]] = {}
    gone: list[int] = []
    for position, node in enumerate(model.graph.node):
        if kept.intersection(node.output) or not _evaluable(node):
            continue
        inputs = _inputs(node, index, known, shapes)
        if inputs is None:
            continue
        results = None if _large(node, inputs) else _evaluate(node, inputs, opset_version(model))
        if results is not None and sum(value.size for value in results.values()) <= LARGEST:
            known.update(results)
            gone.append(position)
    for position in reversed(gone):
        del model.graph.node[position]
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in known.items() if name in read
    )
    removed = remove_unused(model, index=None if gone else index)
    return bool(gone) or removed


def _evaluable(node: onnx.NodeProto) -> bool:
    return (
        is_standard(node)
        and node.op_type not in _LEFT
        and bool(node.output)
        and not any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)
    )


def _inputs(
    node: onnx.NodeProto,
    index: GraphIndex,
    known: dict[str, npt.NDArray[np.generic]],
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, npt.NDArray[np.generic]] | None:
    """Return the values of the inputs (any of the right shape for Shape and Size); None if one is unknown."""
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        return {node.input[0]: np.broadcast_to(np.float32(0), shapes[node.input[0]])}
    found = {}
    for name in filter(None, node.input):
        value = known.get(name)
        if value is None and index.is_constant(name):
            value = index.constant(name)
        if value is None or value.size > LARGEST:
            return None
        found[name] = value
    return found


def _large(node: onnx.NodeProto, inputs: dict[str, npt.NDArray[np.generic]]) -> bool:
    """Return whether the result would be too large to compute."""
    if node.op_type not in ("ConstantOfShape", "Expand"):
        return False
    sizes = np.asarray(inputs[node.input[-1]], np.float64)
    return bool(sizes.prod() > LARGEST)


def _evaluate(
    node: onnx.NodeProto, inputs: dict[str, npt.NDArray[np.generic]], opset: int
) -> dict[str, npt.NDArray[np.generic]] | None:
    """Compute output → value by ONNX's reference; None if it has no implementation."""
    try:
        with np.errstate(all="ignore"):  # log 0 is −∞ in TensorRT too
            results = evaluate_node(node, inputs, opset)
    except Exception:  # its implementations raise any error; the node stays, and TensorRT computes it
        return None
    return results if all(isinstance(v, (np.ndarray, np.generic)) for v in results.values()) else None

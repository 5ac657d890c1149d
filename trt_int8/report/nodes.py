"""The answer per ONNX node: kernels are fused and renamed, people think in nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trt_int8.model.operators import MULTIPLYING_INSIDE
from trt_int8.report.kernels import is_qdq, multiplies
from trt_int8.report.records import Layer, Node

#: Where several kernels serve a node that does not multiply, the one that says most about it.
_KIND_ORDER = {"compute": 0, "data": 1, "reformat": 2, "quantize": 3}


def judge_nodes(layers: Sequence[Layer], ops: dict[str, str]) -> tuple[Node, ...]:
    """One `Node` for each ONNX node named by a layer, in the order of the engine; Q and DQ are left out.

    A node's precision is that of the kernel that multiplies for it. Quantize kernels and epilogues also name
    the node; where no kernel multiplies, the first computing kernel that names it decides.
    """
    serving: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in layer.onnx_nodes:
            serving.setdefault(node, []).append(layer)
    return tuple(
        _judge(node, ops.get(node), kernels, ops)
        for node, kernels in serving.items()
        if not is_qdq(node, ops.get(node))
    )


def _judge(node: str, op: str | None, kernels: list[Layer], ops: dict[str, str]) -> Node:
    deciding = (
        [layer for layer in kernels if multiplies(layer, ops)]
        if _may_multiply(node, op, kernels, ops)
        else []
    )
    if deciding:
        chosen = _worst(deciding)
    else:
        chosen = min(kernels, key=lambda layer: _KIND_ORDER.get(layer.kind, 9))
        deciding = [chosen]
    return Node(node, op, chosen.precision, tuple(layer.name for layer in deciding), chosen.reason)


def _may_multiply(node: str, op: str | None, kernels: list[Layer], ops: dict[str, str]) -> bool:
    """A Relu fused behind a convolution does not multiply itself, yet it runs in that kernel."""
    if op is None or op in MULTIPLYING_INSIDE:
        return True
    return all(multiplies(layer, ops) for layer in kernels if layer.kind == "compute")


def _worst(layers: Iterable[Layer]) -> Layer:
    """A node split over several kernels is in INT8 only if all of them are."""
    return min(layers, key=lambda layer: layer.precision == "int8")

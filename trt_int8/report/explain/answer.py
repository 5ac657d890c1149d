"""What was observed → a build with kinds, precisions, reasons and findings, per layer and per ONNX node.

Kernels are fused and renamed; people think in nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from trt_int8.graph.operators import MULTIPLYING_INSIDE
from trt_int8.record import QuantizationRecord
from trt_int8.report.explain.findings import findings
from trt_int8.report.explain.fusion import fused_nodes, guess_op
from trt_int8.report.explain.kernels import is_qdq, kind, multiplies
from trt_int8.report.explain.precision import precision
from trt_int8.report.explain.reasons import Reasoner
from trt_int8.report.read.lines import text
from trt_int8.report.read.network import Network
from trt_int8.report.read.observed import Observed
from trt_int8.report.read.tuning import Kept
from trt_int8.report.records import Build, Layer, Node, Warnings

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


def judge(seen: Observed, *, network: Network | None = None, cached: Collection[str] | None = None) -> Build:
    """The build that ``seen`` describes.

    Args:
        seen: what a log or layer information said.
        network: the ONNX network, where the model was given; else the one in the log.
        cached: tensors with a scale in the calibration cache, where it was given.
    """
    network = network or Network(seen.nodes)
    ops = network.ops
    tried = {text(name): kept for name, kept in seen.candidates.items()}
    layers = [
        _judged(layer, seen, ops, tried.get(layer.name, {})) for layer in seen.layers or _tuned_layers(seen)
    ]
    reasoner = Reasoner(seen, network, layers, cached)
    layers = [
        layer if (reason := reasoner.reason(layer)) is None else layer.changed(reason=reason)
        for layer in layers
    ]
    return Build(
        layers=tuple(layers),
        nodes=judge_nodes(layers, ops or _guessed(layers)),
        findings=findings(layers),
        tensorrt=seen.tensorrt,
        product=seen.product,
        status="complete" if seen.complete else "incomplete",
        first_line=seen.first_line,
        last_line=seen.last_line,
        warnings=Warnings(tuple(seen.missing), tuple(seen.warnings.values())),
        calibration=seen.calibration,
        unrecognized_lines=seen.unrecognized,
        record=_record(seen.record),
    )


def _record(text: str | None) -> QuantizationRecord | None:
    """The record, unless the line is cut or of a later format."""
    try:
        return None if text is None else QuantizationRecord.from_json(text)
    except ValueError:
        return None


def _judged(layer: Layer, seen: Observed, ops: dict[str, str], tried: Kept) -> Layer:
    """``layer`` with candidates, kind, precision and, where its line does not name them, its ONNX nodes."""
    nodes = layer.onnx_nodes or seen.myelin_nodes.get(layer.name) or fused_nodes(layer, ops, seen.registered)
    named = layer if nodes == layer.onnx_nodes else layer.changed(onnx_nodes=nodes)
    return layer.changed(
        onnx_nodes=nodes,
        candidates=tuple(each.candidate() for each in tried.values()),
        kind=kind(named, ops),
        precision=precision(named, ops),
    )


def _tuned_layers(seen: Observed) -> list[Layer]:
    """A build that ended before its layer information: what was tuned, named after the fastest runner."""
    layers = []
    for name, tried in seen.candidates.items():
        timed = [each for each in tried.values() if each.best is not None]
        first = min(timed, key=lambda each: each.best or 0.0, default=next(iter(tried.values()), None))
        if name and first is not None and not name.startswith((b"Optimizer Reformat", b"<")):
            layers.append(Layer(text(name), text(first.runner).split(" ")[0], line=first.line))
    return layers


def _guessed(layers: list[Layer]) -> dict[str, str]:
    """Operators from node names, where neither log nor model says them."""
    names = {node for layer in layers for node in layer.onnx_nodes}
    return {name: op for name in names if (op := guess_op(name)) is not None}

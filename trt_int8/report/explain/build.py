"""Raw facts of a build → its layers and ONNX nodes with kinds, precisions, reasons and findings.

The report leads with the ONNX nodes, because TensorRT fuses and renames them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

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

#: Of several kernels of a node that does not multiply, the first in this order gives its precision.
_KIND_ORDER = {"compute": 0, "data": 1, "reformat": 2, "quantize": 3}


def explain(
    seen: Observed, *, network: Network | None = None, cached: Collection[str] | None = None
) -> Build:
    """Return the build that ``seen`` describes.

    Args:
        seen: facts from a log or from layer information.
        network: the ONNX network of the model, if it was given; else the one in the log is used.
        cached: tensors with a scale in the calibration cache, if it was given.
    """
    network = network or Network(seen.nodes)
    ops = network.ops
    tried = {text(name): kept for name, kept in seen.candidates.items()}
    layers = [
        _classified(layer, seen, ops, tried.get(layer.name, {}))
        for layer in seen.layers or _tuned_layers(seen)
    ]
    reasoner = Reasoner(seen, network, layers, cached)
    layers = [
        layer if (reason := reasoner.reason(layer)) is None else layer.changed(reason=reason)
        for layer in layers
    ]
    return Build(
        layers=tuple(layers),
        nodes=_nodes(layers, ops or _guessed(layers)),
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


def _nodes(layers: Sequence[Layer], ops: dict[str, str]) -> tuple[Node, ...]:
    """Return a `Node` for each ONNX node that a layer names, in the order of the engine, without Q and DQ."""
    kernels: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in layer.onnx_nodes:
            kernels.setdefault(node, []).append(layer)
    return tuple(
        _node(node, ops.get(node), named, ops)
        for node, named in kernels.items()
        if not is_qdq(node, ops.get(node))
    )


def _node(node: str, op: str | None, kernels: list[Layer], ops: dict[str, str]) -> Node:
    """Give a node the precision of the kernels that multiply for it, else of the first kernel that computes.

    Quantize kernels and epilogues name the node, too, and do not count.
    """
    deciding: list[Layer] = []
    # A Relu fused into a convolution does not multiply, yet it runs in that kernel and in no other.
    computing = (kernel for kernel in kernels if kernel.kind == "compute")
    if op is None or op in MULTIPLYING_INSIDE or all(multiplies(kernel, ops) for kernel in computing):
        deciding = [kernel for kernel in kernels if multiplies(kernel, ops)]
    deciding = deciding or [min(kernels, key=lambda kernel: _KIND_ORDER.get(kernel.kind, 9))]
    # A node split over several kernels is in INT8 only if all of them are.
    chosen = min(deciding, key=lambda kernel: kernel.precision == "int8")
    return Node(node, op, chosen.precision, tuple(kernel.name for kernel in deciding), chosen.reason)


def _record(text: str | None) -> QuantizationRecord | None:
    """Read the record. Return None if the line is cut or of a later format."""
    try:
        return None if text is None else QuantizationRecord.from_json(text)
    except ValueError:
        return None


def _classified(layer: Layer, seen: Observed, ops: dict[str, str], tried: Kept) -> Layer:
    """Return ``layer`` with candidates, kind, precision and ONNX nodes."""
    nodes = layer.onnx_nodes or seen.myelin_nodes.get(layer.name) or fused_nodes(layer, ops, seen.registered)
    named = layer if nodes == layer.onnx_nodes else layer.changed(onnx_nodes=nodes)
    return named.changed(
        candidates=tuple(each.candidate() for each in tried.values()),
        kind=kind(named, ops),
        precision=precision(named, ops),
    )


def _tuned_layers(seen: Observed) -> list[Layer]:
    """Return the tuned layers of a build without layer information, with the fastest runner as their type."""
    layers = []
    for name, tried in seen.candidates.items():
        timed = [each for each in tried.values() if each.best is not None]
        first = min(timed, key=lambda each: each.best or 0.0, default=next(iter(tried.values()), None))
        if name and first is not None and not name.startswith((b"Optimizer Reformat", b"<")):
            layers.append(Layer(text(name), text(first.runner).split(" ")[0], line=first.line))
    return layers


def _guessed(layers: list[Layer]) -> dict[str, str]:
    """Guess operators from node names, if neither log nor model gives them."""
    names = {node for layer in layers for node in layer.onnx_nodes}
    return {name: op for name in names if (op := guess_op(name)) is not None}

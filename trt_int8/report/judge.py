"""What was observed → a build with kinds, precisions, nodes, reasons and findings."""

from __future__ import annotations

from collections.abc import Collection

from trt_int8.record import QuantizationRecord
from trt_int8.report.decoding import text
from trt_int8.report.flow import findings
from trt_int8.report.fusion import fused_nodes, guess_op
from trt_int8.report.kernels import kind
from trt_int8.report.network import Network
from trt_int8.report.nodes import judge_nodes
from trt_int8.report.observed import Observed
from trt_int8.report.precision import precision
from trt_int8.report.reasons import Reasoner
from trt_int8.report.records import Build, Layer, Warnings
from trt_int8.report.tuning import Kept


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

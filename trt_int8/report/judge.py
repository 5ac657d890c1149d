"""What was observed → a build with kinds, precisions, nodes, reasons and findings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from trt_int8.report.flow import findings
from trt_int8.report.fusion import fused_nodes, guess_op
from trt_int8.report.kernels import kind
from trt_int8.report.network import Network
from trt_int8.report.nodes import judge_nodes
from trt_int8.report.observed import Observed
from trt_int8.report.precision import precision
from trt_int8.report.reasons import Reasoner
from trt_int8.report.records import Build, Layer, Warnings


def judge(seen: Observed, *, network: Network | None = None, cached: Collection[str] | None = None) -> Build:
    """The build that ``seen`` describes.

    Args:
        seen: what a log or layer information said.
        network: the ONNX network, where the model was given; else the one in the log.
        cached: tensors with a scale in the calibration cache, where it was given.
    """
    network = network or Network(seen.nodes)
    ops = network.ops
    layers = [_judged(_completed(layer, seen, ops), ops) for layer in seen.layers or _tuned_layers(seen)]
    reasoner = Reasoner(seen, network, layers, cached)
    layers = [
        layer if (reason := reasoner.reason(layer)) is None else replace(layer, reason=reason)
        for layer in layers
    ]
    return Build(
        layers=tuple(layers),
        nodes=judge_nodes(layers, ops or _guessed(layers)),
        findings=findings(layers),
        tensorrt=seen.tensorrt,
        status="complete" if seen.complete else "incomplete",
        first_line=seen.first_line,
        last_line=seen.last_line,
        warnings=Warnings(tuple(seen.missing), tuple(seen.warnings.values())),
        calibration=seen.calibration,
        unrecognized_lines=seen.unrecognized,
    )


def _tuned_layers(seen: Observed) -> list[Layer]:
    """A build that ended before its layer information: what was tuned, named after the fastest runner."""
    layers = []
    for name, candidates in seen.candidates.items():
        timed = [candidate for candidate in candidates.values() if candidate.best_time_ms is not None]
        best = min(timed, key=lambda candidate: candidate.best_time_ms or 0.0, default=None)
        first = best or next(iter(candidates.values()), None)
        if name and first is not None and not name.startswith(("Optimizer Reformat", "<")):
            layers.append(Layer(name, first.runner.split(" ")[0], line=first.line))
    return layers


def _completed(layer: Layer, seen: Observed, ops: dict[str, str]) -> Layer:
    """``layer`` with its candidates and, where the layer information does not name them, its ONNX nodes."""
    candidates = seen.candidates.get(layer.name)
    nodes = layer.onnx_nodes or seen.myelin_nodes.get(layer.name) or fused_nodes(layer, ops, seen.registered)
    if not candidates and nodes == layer.onnx_nodes:
        return layer
    return replace(layer, candidates=tuple(candidates.values()) if candidates else (), onnx_nodes=nodes)


def _judged(layer: Layer, ops: dict[str, str]) -> Layer:
    layer = replace(layer, kind=kind(layer, ops))
    return replace(layer, precision=precision(layer, ops))


def _guessed(layers: list[Layer]) -> dict[str, str]:
    """Operators from node names, where neither log nor model says them."""
    names = {node for layer in layers for node in layer.onnx_nodes}
    return {name: op for name in names if (op := guess_op(name)) is not None}

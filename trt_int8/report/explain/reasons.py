"""Reasons why computing layers are not in INT8: one of docs/report-schema.md each, with its evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from trt_int8.graph.operators import DATA, MULTIPLYING_INSIDE
from trt_int8.report.explain.kernels import is_qdq, multiplies
from trt_int8.report.explain.precision import operands
from trt_int8.report.read.network import Network, NetworkNode, names
from trt_int8.report.read.observed import Observed
from trt_int8.report.read.tuning import reformat_costs
from trt_int8.report.records import Candidate, Evidence, Layer, Reason


def of_layer(layer: Layer) -> tuple[Evidence, ...]:
    """Return the line that the layer was read from, as a summary: its type, its name, its inputs."""
    read = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in (*layer.inputs, *layer.constants)[:4])
    return (Evidence(layer.line, f"{layer.type} {layer.name}: reads {read or 'unknown tensors'}"),)


def of_node(node: NetworkNode) -> tuple[Evidence, ...]:
    """Return the line with the inputs of an ONNX node; () for a node that comes from the model."""
    if node.line is None:
        return ()
    return (Evidence(node.line, f"{node.name} [{node.op}] inputs: {', '.join(node.inputs)}"),)


def of_candidate(candidate: Candidate) -> Evidence:
    """Return the line with the time or the refusal of the candidate."""
    return Evidence(candidate.line, candidate.source.decode("utf-8", errors="replace").strip())


def explicit_reason(layer: Layer, network: Network) -> Reason | None:
    """Return the reason in a Q/DQ network: a layer gets INT8 only if its node reads dequantized values."""
    deciding = _deciding_node(layer, network)
    if deciding is None:
        return None
    lines = (*of_layer(layer), *of_node(deciding))
    node = f"{deciding.name} ({deciding.op})"
    multiplying = deciding.op in MULTIPLYING_INSIDE
    if multiplying and not multiplies(layer, network.ops):
        text = f"only applies the scale, bias or activation of {node}, which multiplies in another kernel"
        return Reason("not_offered", text, lines)
    # The parameters of a node that does not multiply need no Q/DQ pair.
    computed = tuple(tensor for tensor in deciding.inputs if tensor in network.producers)
    read = deciding.inputs[:2] if multiplying else computed or deciding.inputs[:1]
    bare = [tensor for tensor in read if not network.is_dequantized(tensor)]
    if bare:
        what = ("operand" if multiplying else "input") + "s" * (len(bare) > 1)
        have = "have" if len(bare) > 1 else "has"
        text = f"{node} is not quantized: its {what} {names(bare)} {have} no Q/DQ pair"
        return Reason("not_offered", text, lines)
    if not multiplying and deciding.outputs and not all(map(network.is_quantized_next, deciding.outputs)):
        text = (
            f"{node} has Q/DQ pairs on its inputs only; without weights it also needs one on its output "
            f"{names(deciding.outputs)}"
        )
        return Reason("not_offered", text, lines)
    dtype = layer.inputs[0].dtype if layer.inputs else layer.precision
    text = f"{node} has all Q/DQ pairs, but its kernel reads {dtype}: TensorRT has no INT8 kernel for it"
    return Reason("no_int8_kernel", text, lines)


def _deciding_node(layer: Layer, network: Network) -> NetworkNode | None:
    """Return the ONNX node that multiplies in the layer, or the first that computes."""
    held = [node for name in layer.onnx_nodes if (node := network.nodes.get(name)) is not None]
    held = [node for node in held if not is_qdq(node.name, node.op)]
    if multiplies(layer, network.ops):
        multiplying = [node for node in held if node.op in MULTIPLYING_INSIDE]
        if multiplying:
            return multiplying[0]
    elementwise = [node for node in held if node.op not in MULTIPLYING_INSIDE and node.op not in DATA]
    return next(iter(elementwise), held[0] if held else None)


@dataclass
class Reasoner:
    """Finds the reasons in one build. ``cached``: the tensors with a scale in the cache, if one was given."""

    seen: Observed
    network: Network
    layers: Sequence[Layer]
    cached: Collection[str] | None = None
    producers: dict[str, Layer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producers = {tensor.name: layer for layer in self.layers for tensor in layer.outputs}

    def reason(self, layer: Layer) -> Reason | None:
        """Return the reason of a computing layer; None for ``int8`` and ``int8_io``."""
        if layer.kind != "compute" or layer.precision in ("int8", "int8_io"):
            return None
        if layer.precision == "weight_dequantized":
            return self._mixed(layer)
        if not layer.inputs and layer.candidates:
            chosen = self._chosen(layer)
            if chosen is not None and "int8" in chosen.inputs:
                return None  # the log ends after the tuning, in which INT8 was the fastest
        int8 = [candidate for candidate in layer.candidates if "int8" in candidate.inputs]
        return (
            self._fused(layer)
            or self._slower(layer, int8)
            or self._no_scale(layer)
            or self._no_kernel(int8)
            or self._not_offered(layer)
            or self._unknown(layer)
        )

    def _mixed(self, layer: Layer) -> Reason:
        read = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in operands(layer))
        weights = f", weights {layer.weights}" if layer.weights else ""
        return Reason(
            "mixed",
            f"reads Int8 but multiplies in float. Operands: {read}{weights}. Usual causes: a weight Q/DQ "
            "pair with the wrong axis, or a pair on one operand only",
            of_layer(layer),
        )

    def _fused(self, layer: Layer) -> Reason | None:
        if layer.type != "Myelin":
            return None
        tried: dict[str, Candidate] = {}
        for candidate in layer.candidates:
            if candidate.runner.startswith("Myelin ") and candidate.inputs:
                best = tried.get(candidate.inputs[0])
                if best is None or (candidate.best_time_ms or 0) < (best.best_time_ms or 0):
                    tried[candidate.inputs[0]] = candidate
        if tried:
            said = ", ".join(
                f"{dtype} {c.best_time_ms:g} ms" for dtype, c in sorted(tried.items()) if c.best_time_ms
            )
            text = f"fused by Myelin. Best times in its tables: {said}"
            if "int8" not in tried:
                text += "; no kernel in them multiplies in INT8"
        else:
            text = (
                "fused by Myelin, and the log has no table of its kernels. Build with profiling_verbosity "
                "DETAILED to see them in the layer information"
            )
        return Reason("fused", text, tuple(of_candidate(c) for c in tried.values()) or of_layer(layer))

    def _no_scale(self, layer: Layer) -> Reason | None:
        rejected = self.seen.rejected.get(layer.name)
        if rejected:
            tensors = names(tensor for tensor, _ in rejected)
            text = f"TensorRT rejected an INT8 implementation because {tensors} has no scale"
            text += "; calibrate it or set its dynamic range"
            return Reason("no_scale", text, tuple(line for _, line in rejected))
        if self.network.explicit or self.seen.explicit is not None:
            return None
        touched = [self._origin(tensor.name) for tensor in (*layer.inputs, *layer.outputs)]
        missing = {tensor: self.seen.missing[tensor] for tensor in touched if tensor in self.seen.missing}
        if missing:
            text = f"{names(missing)} has no scale; calibrate it or set its dynamic range"
            return Reason("no_scale", text, tuple(missing.values()))
        if self.cached is None or self.seen.int8_enabled is False:
            return None
        absent = [tensor for tensor in touched[: len(layer.inputs)] if tensor not in self.cached]
        if absent:
            text = f"the calibration cache has no scale for {names(absent)}; calibrate this model again"
            return Reason("no_scale", text, of_layer(layer))
        return None

    def _slower(self, layer: Layer, int8: list[Candidate]) -> Reason | None:
        timed = [candidate for candidate in int8 if candidate.best_time_ms is not None]
        best = min(timed, key=lambda candidate: candidate.best_time_ms or 0.0, default=None)
        if best is None:
            return None
        chosen = self._chosen(layer)
        text = f"best INT8 tactic: {_ms(best.best_time_ms)} with {best.runner} ({best.formats})"
        if chosen is not None:
            text += f"; chosen: {_ms(chosen.best_time_ms)} with {chosen.runner} ({chosen.formats})"
        text += self._reformats(layer, best)
        return Reason("slower", text, tuple(map(of_candidate, filter(None, (best, chosen)))))

    def _no_kernel(self, int8: list[Candidate]) -> Reason | None:
        if not int8:
            return None
        formats = len({candidate.formats for candidate in int8})
        return Reason(
            "no_int8_kernel",
            f"TensorRT tried {formats} format combination{'s' * (formats > 1)} with Int8 input, and no "
            "tactic ran: "
            + names(f"{candidate.runner or 'runner'} {candidate.outcome}" for candidate in int8),
            tuple(of_candidate(candidate) for candidate in int8[:4]),
        )

    def _chosen(self, layer: Layer) -> Candidate | None:
        """Return the candidate that became the layer: the one with its datatypes and its runner."""
        read, written = (tuple(t.dtype for t in side) for side in (layer.inputs, layer.outputs))
        timed = [candidate for candidate in layer.candidates if candidate.best_time_ms is not None]
        same = [candidate for candidate in timed if (candidate.inputs, candidate.outputs) == (read, written)]
        if not read:
            same = timed  # the log ends before the engine, which would have got the fastest
        elif not same:
            same = [candidate for candidate in timed if candidate.inputs[:1] == read[:1]]
        return min(same, key=lambda c: (c.runner != layer.type, c.best_time_ms or 0.0), default=None)

    def _reformats(self, layer: Layer, best: Candidate) -> str:
        """Describe the copies that the INT8 candidate would need, as its neighbours have other datatypes."""
        read = [(t.name, t.dtype, dtype) for t, dtype in zip(layer.inputs, best.inputs, strict=False)]
        written = [(t.name, dtype, t.dtype) for t, dtype in zip(layer.outputs, best.outputs, strict=False)]
        needed = [(self._origin(name), old, new) for name, old, new in read + written if old != new]
        if not needed:
            return ""
        measured = reformat_costs(self.seen.reformats)
        costs = [measured.get(key, measured.get(("", *key[1:]))) for key in needed]
        known = [cost for cost in costs if cost is not None]
        steps = ", ".join(f"{tensor} {source} to {target}" for tensor, source, target in needed)
        cost = f", about {_ms(sum(known))} in all" if len(known) == len(costs) else ""
        return f"; INT8 would need {len(needed)} reformat{'s' * (len(needed) > 1)} ({steps}{cost})"

    def _not_offered(self, layer: Layer) -> Reason | None:
        constrained = self.seen.constrained.get(layer.name)
        if constrained is not None:
            text = "TensorRT could not meet a precision constraint on the layer"
            return Reason("not_offered", text, (constrained,))
        if self.network.explicit and (explained := explicit_reason(layer, self.network)):
            return explained
        if self.seen.int8_enabled is False and self.seen.precision_flags is not None:
            text = "INT8 is not enabled for this build (BuilderFlag.INT8)"
            return Reason("not_offered", text, (self.seen.precision_flags,))
        tried = sorted({dtype for candidate in layer.candidates for dtype in candidate.inputs})
        if tried:
            text = (
                f"tuned with {', '.join(tried)} only; TensorRT offers no format combination with Int8 input"
            )
            return Reason("not_offered", text, tuple(map(of_candidate, layer.candidates[:2])))
        if self.network.nodes and self.seen.int8_enabled is not True and not self.seen.scales:
            text = f"{self.network.source} has no Q/DQ nodes and no sign of calibrated INT8"
            return Reason("not_offered", text, of_layer(layer))
        return None

    def _unknown(self, layer: Layer) -> Reason:
        looked = "found no INT8 format combination of this layer and no missing scale of its tensors"
        if self.network.nodes:
            looked += f", and no cause at its ONNX node in {self.network.source}"
        hint = "" if self.seen.verbose or self.seen.candidates else ". A verbose build log has more facts"
        return Reason("unknown", looked + hint, of_layer(layer))

    def _origin(self, tensor: str) -> str:
        """Return the tensor before a reformat: what ``Reformatted Input Tensor 0 to conv1`` is a copy of."""
        for _ in range(4):
            source = self.producers.get(tensor)
            if not tensor.startswith("Reformatted Input Tensor ") or source is None or not source.inputs:
                return tensor
            tensor = source.inputs[0].name
        return tensor


def _ms(time: float | None) -> str:
    return "no time" if time is None else f"{time:.4g} ms"

"""What a precision report is made of: frozen records, filled by the readers and judged by the rules."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evidence:
    """A line that supports a statement. ``line`` is 1-based; None where the source has no lines (JSON)."""

    line: int | None
    text: str


@dataclass(frozen=True)
class Tensor:
    """A tensor at a layer: ``dtype`` in our spelling (``int8``, ``fp16``, …), ``dims`` where printed."""

    name: str
    dtype: str
    dims: tuple[int, ...] | None = None
    format: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One way TensorRT considered to run a layer: a format combination and a runner.

    ``best_time_ms`` is the fastest tactic of this combination and runner. ``outcome``: ``timed``, ``cached``
    (the time came from the timing cache), ``no_tactic`` or ``skipped`` (workspace, exceptions).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    formats: str
    runner: str
    best_time_ms: float | None
    outcome: str
    line: int | None = None


@dataclass(frozen=True)
class Reason:
    """Why a layer or node is not in INT8: a code of docs/report-schema.md, a sentence, its evidence."""

    code: str
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One line of the engine's layer information.

    ``weights`` is the datatype of the weights where the source prints it apart from ``constants``
    (``Weights: {"Type": …}``), else None. ``line`` is where the layer was read.
    """

    name: str
    type: str
    inputs: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    tactic: str | None = None
    tactic_name: str | None = None
    onnx_nodes: tuple[str, ...] = ()
    weights: str | None = None
    origin: str | None = None
    kind: str = "compute"
    precision: str = "unknown"
    time_ms: float | None = None
    reason: Reason | None = None
    candidates: tuple[Candidate, ...] = ()
    line: int | None = None


@dataclass(frozen=True)
class GraphNode:
    """An ONNX node as the parser's log lines (or ``--model``) give it."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    line: int | None = None


@dataclass(frozen=True)
class Node:
    """The answer for one ONNX node: the precision of the kernel that does its arithmetic."""

    node: str
    op: str | None
    precision: str
    layers: tuple[str, ...]
    reason: Reason | None = None


@dataclass(frozen=True)
class Calibration:
    """What the log says about calibration. ``cache``: ``read``, ``written`` or None."""

    batches: int | None = None
    seconds: float | None = None
    cache: str | None = None


@dataclass(frozen=True)
class Warnings:
    """Tensors without a scale, every other warning and error line, and lines about calibration."""

    missing_scale: tuple[str, ...] = ()
    other: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Build:
    """One engine: its layers in order, its ONNX nodes, and what was said on the way."""

    layers: tuple[Layer, ...] = ()
    nodes: tuple[Node, ...] = ()
    tensorrt: str | None = None
    status: str = "incomplete"
    first_line: int = 1
    last_line: int = 1
    warnings: Warnings = field(default_factory=Warnings)
    calibration: Calibration | None = None
    graph: tuple[GraphNode, ...] = ()
    unrecognized_lines: int = 0

    @property
    def compute_layers(self) -> tuple[Layer, ...]:
        """Layers that compute: neither copies, nor quantize steps, nor data."""
        return tuple(layer for layer in self.layers if layer.kind == "compute")

    @property
    def int8_layers(self) -> tuple[Layer, ...]:
        """Layers that multiply Int8 by Int8."""
        return tuple(layer for layer in self.layers if layer.precision == "int8" and layer.kind == "compute")

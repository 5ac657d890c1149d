"""Records of a precision report: filled by the readers (read/), completed by the rules (explain/)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trt_int8.record import QuantizationRecord


@dataclass(frozen=True)
class Evidence:
    """A line that supports a statement. ``line`` counts from 1; None if the source has no lines (JSON)."""

    line: int | None
    text: str


@dataclass(frozen=True)
class Complaint(Evidence):
    """A warning, or an ``error``."""

    error: bool = False


@dataclass(frozen=True)
class Tensor:
    """A tensor at a layer. ``dtype`` is ``int8``, ``fp16``, …; ``dims`` is None if the source has none."""

    name: str
    dtype: str
    dims: tuple[int, ...] | None = None
    format: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A way to run a layer that TensorRT tried: a format combination and a runner.

    ``best_time_ms`` is the time of the fastest tactic with both. ``outcome``: ``timed``, ``cached``
    (the time came from the timing cache), ``no_tactic`` or ``skipped`` (workspace, exceptions).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    formats: str
    runner: str
    best_time_ms: float | None
    outcome: str
    line: int | None = None
    source: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True)
class Reason:
    """Why a layer or node is not in INT8: a code of docs/report-schema.md, a sentence, its evidence."""

    code: str
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One line of the engine's layer information.

    ``weights`` is the datatype of the weights if the source prints it apart from ``constants``
    (``Weights: {"Type": …}``), else None. ``line`` is the line of the layer.
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

    def changed(self, **fields: Any) -> Layer:
        """Return a copy with other ``fields``, ten times as fast as `dataclasses.replace`."""
        copy = object.__new__(Layer)
        copy.__dict__.update(self.__dict__, **fields)
        return copy


@dataclass(frozen=True)
class Node:
    """An ONNX node with the precision of the kernels that compute it."""

    node: str
    op: str | None
    precision: str
    layers: tuple[str, ...]
    reason: Reason | None = None


@dataclass(frozen=True)
class LoggedCalibration:
    """Facts about calibration in a log. ``cache``: ``read``, ``written`` or None."""

    batches: int | None = None
    seconds: float | None = None
    cache: str | None = None


@dataclass(frozen=True)
class Warnings:
    """Tensors without a scale, and every other warning or error, each once with its first line."""

    missing_scale: tuple[str, ...] = ()
    other: tuple[Complaint, ...] = ()


@dataclass(frozen=True)
class Findings:
    """Facts that cost time although layers are in INT8.

    ``reformats_on_both_sides``: INT8 layers with a copy or quantize layer both before and after them.
    ``float_between_int8``: (tensor, dtype, producing layer, consuming layer): a float tensor between two INT8
    layers. ``bytes_moved``: activation bytes that all layers read and write, per datatype; layers with
    unknown or dynamic dimensions are counted in ``layers_without_dims`` instead.
    """

    reformats_on_both_sides: tuple[str, ...] = ()
    float_between_int8: tuple[tuple[str, str, str, str], ...] = ()
    bytes_moved: tuple[tuple[str, int], ...] = ()
    layers_without_dims: int = 0


@dataclass(frozen=True)
class Build:
    """One engine: its layers in order, its ONNX nodes, and the warnings of its build.

    ``record``: how the model was quantized and its SQNR, if `trt_int8.build_engine` built it. ``tensorrt`` is
    the version of ``product``, ``TensorRT`` or ``TensorRT-RTX``; both are None if the source has neither.
    """

    layers: tuple[Layer, ...] = ()
    nodes: tuple[Node, ...] = ()
    findings: Findings | None = None
    tensorrt: str | None = None
    product: str | None = None
    status: str = "incomplete"
    first_line: int = 1
    last_line: int = 1
    warnings: Warnings = field(default_factory=Warnings)
    calibration: LoggedCalibration | None = None
    unrecognized_lines: int = 0
    record: QuantizationRecord | None = None

    @property
    def compute_layers(self) -> tuple[Layer, ...]:
        """Layers other than copies, quantize steps and data."""
        return tuple(layer for layer in self.layers if layer.kind == "compute")

    @property
    def int8_layers(self) -> tuple[Layer, ...]:
        """Layers that multiply Int8 by Int8."""
        return tuple(layer for layer in self.layers if layer.precision == "int8" and layer.kind == "compute")

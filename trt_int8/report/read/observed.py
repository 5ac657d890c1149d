"""Raw facts of a build, and the state of the reader that collects them."""

from __future__ import annotations

from dataclasses import dataclass, field

from trt_int8.report.read.network import NetworkNode
from trt_int8.report.read.tuning import Kept, Reformats, Tuning
from trt_int8.report.records import Complaint, Evidence, Layer, LoggedCalibration

#: Distinct warnings kept per build. A log can have variants of one without end.
MOST_WARNINGS = 1000


@dataclass
class Observed:
    """Raw facts of a build, from a log or from layer information.

    ``rejected`` and ``constrained`` map layer names to log lines, ``missing`` and ``scales`` tensor names.
    ``record`` is the JSON that `trt_int8.build_engine` wrote. ``myelin_nodes`` maps ForeignNode layers to the
    ONNX nodes inside, ``registered`` layer names of TensorRT to their ONNX nodes. ``prefixed``: a line began
    with the prefix of a logger. ``tuned``: there was a line about tuning.
    """

    first_line: int = 1
    last_line: int = 1
    tensorrt: str | None = None
    product: str | None = None
    layers: list[Layer] = field(default_factory=list)
    complete: bool = False
    nodes: dict[str, NetworkNode] = field(default_factory=dict)
    registered: dict[str, str] = field(default_factory=dict)
    myelin_nodes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    candidates: dict[bytes, Kept] = field(default_factory=dict)
    reformats: Reformats = field(default_factory=dict)
    missing: dict[str, Evidence] = field(default_factory=dict)
    scales: dict[str, Evidence] = field(default_factory=dict)
    rejected: dict[str, list[tuple[str, Evidence]]] = field(default_factory=dict)
    constrained: dict[str, Evidence] = field(default_factory=dict)
    warnings: dict[str, Complaint] = field(default_factory=dict)
    precision_flags: Evidence | None = None
    int8_enabled: bool | None = None
    explicit: Evidence | None = None
    calibration: LoggedCalibration | None = None
    record: str | None = None
    verbose: bool = False
    unrecognized: int = 0
    prefixed: bool = False
    tuned: bool = False

    @property
    def is_a_log(self) -> bool:
        """True if any line of TensorRT was recognized."""
        facts = (self.layers, self.nodes, self.missing, self.rejected, self.scales, self.constrained)
        said = (self.calibration, self.precision_flags, self.tensorrt)
        return self.prefixed or self.tuned or any(facts) or any(said)

    def warn(self, text: str, line: int, *, error: bool) -> None:
        """Keep a warning or error with its first line."""
        if text not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings[text] = Complaint(line, text, error)


@dataclass
class Reading:
    """State of the reader of a log: the build with its tuning, and the level of the current line.

    ``tuned``: a tuning line has been seen. ``calibrating``: between "Starting Calibration" and its end.
    ``kept``: the tuning pass that TensorRT said it keeps. ``section``: the layers of the layer information
    that is being read. ``broken``: one of its lines was cut off. ``node``: the ONNX node that the parser is
    at; lines with its tensors begin with ``node_key``, "NAME [OP] ". ``ready``: the finished builds.
    """

    build: Observed = field(default_factory=Observed)
    tuning: Tuning = field(default_factory=Tuning)
    severity: str = ""
    tuned: bool = False
    calibrating: bool = False
    kept: tuple[dict[bytes, Kept], Reformats] | None = None
    section: list[Layer] | None = None
    broken: bool = False
    node: NetworkNode | None = None
    node_key: bytes = b"\n"
    ready: list[Observed] = field(default_factory=list)
    _first: bool = True

    def take(self) -> list[Observed]:
        """Return the finished builds and forget them."""
        ready, self.ready = self.ready, []
        return ready

    def new_section(self) -> None:
        """Begin the layer information of an engine."""
        self.tuning.close()
        self._end_section()
        self.section = []

    def add_layer(self, layer: Layer | None) -> None:
        """Add a layer of the engine. None stands for a line that was cut off."""
        if self.section is None:
            self.section = []
        if layer is None:
            self.broken = True
        else:
            self.section.append(layer)

    def close(self, last_line: int) -> None:
        """End the build with ``last_line`` and begin the next one."""
        build = self.build
        passed = self.tuning.take()
        self._end_section()
        build.candidates, build.reformats = self.kept or passed
        build.complete = bool(build.layers) and not self.broken
        build.last_line, build.tuned = last_line, self.tuned
        # After a build, trtexec may only load and run an engine. That is not another build.
        if self._first or build.layers or self.tuned or build.nodes or build.missing or build.calibration:
            self.ready.append(build)
            self._first = False
        self.build = Observed(first_line=last_line + 1, tensorrt=build.tensorrt, product=build.product)
        self.kept, self.section, self.node, self.node_key = None, None, None, b"\n"
        self.tuned = self.calibrating = self.broken = False

    def _end_section(self) -> None:
        """Replace the layers if the section, printed again by trtexec --dumpLayerInfo, is no shorter."""
        if self.section and len(self.section) >= len(self.build.layers):
            self.build.layers = self.section

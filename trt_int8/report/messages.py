"""One handler for each kind of message that TensorRT prints; together they fill `Observed`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from trt_int8.report.layer_text import onnx_nodes, read_detailed, read_one_line
from trt_int8.report.network import NetworkNode
from trt_int8.report.observed import Observed
from trt_int8.report.records import Calibration, Evidence, Layer
from trt_int8.report.tuning import Kept, Reformat, Tuning, number_in

_MISSING = re.compile(rb"Missing scale and zero-point for tensor (.*?), expect fall back")
_REJECTING = re.compile(
    rb"Rejecting some int8 implementation of layer (.*) "
    rb"due to missing int8 scales for tensor (.*) at (?:in|out)put"
)
_SCALE = re.compile(
    rb"INT8 Inference Tensor [Ss]cales(?: and zero-points)?: (.*?)(?: scale and zero-point .*| \[\d+\])?$"
)
_METADATA = re.compile(rb"ForeignNode (.*) metadata: ?(.*)$", re.DOTALL)
_VERSION = re.compile(rb"TensorRT version: ([\d.]+)|\[TensorRT v(\d+)\]")
_CONSTRAINED = re.compile(
    rb"(?:Warning: )?[Nn]o implementation of (?:layer )?(.*) obeys the requested constraints"
    rb"|For layer (.*) a non-conforming implementation was chosen"
    rb"|Could not find any implementation for node (.*?)\.?\)?$"
)
_CALIBRATED = re.compile(rb"Calibrated batch (\d+) in")
_SECONDS = re.compile(rb"completed in ([\d.eE+-]+) seconds")


class Messages:
    """Reads the messages of one log; `take` gives the builds that are over."""

    def __init__(self) -> None:
        self.severity = ""
        self.finished = False
        self.tuning = Tuning()
        self.tactic = self.tuning.tactic
        self.table_row = self.tuning.table_row
        self._ready: list[Observed] = []
        self._builds = 0
        self._build = Observed()
        self._section: list[Layer] | None = None
        self._broken = False
        self._tuned = False
        self._calibrating = False
        self._kept: tuple[dict[str, Kept], dict[Reformat, float]] | None = None
        self._node: NetworkNode | None = None
        self._node_key = b"\n"

    def handlers(self) -> dict[bytes, Callable[[bytes, int], object]]:
        """First six bytes of a message → what reads it; a handler answers False for "not mine"."""
        return {
            b"Tactic": lambda message, number: self.tuning.tactic(message),
            b"Fastes": self._fastest,
            b"------": self._dashes,
            b"******": self._stars,
            b"======": self._equals,
            b">>>>>>": lambda message, number: None,
            b"Skippi": self._skipping,
            b"UNSUPP": lambda message, number: self.tuning.skipped(message, number),
            b" (fore": self._foreign,
            b"Foreig": self._metadata,
            b"Layer(": self._one_line,
            b"Name: ": self._detailed,
            b"Layers": self._layers,
            b"Engine": self._engine,
            b"Parsin": self._parsing,
            b"Regist": self._registering,
            b"Adding": self._adding,
            b"Origin": self._original,
            b"ONNX I": lambda message, number: self._begins(number),
            b"&&&& R": self._running,
            b"Tensor": self._version,
            b"Missin": self._missing,
            b"Reject": self._rejecting,
            b"INT8 I": self._scale,
            b"[INT8 ": self._scale,
            b"Precis": self._flags,
            b"    Fl": self._flags,
            b"Calibr": self._calibration,
            b"  Cali": self._calibrated,
            b"Starti": self._starting,
            b"Readin": self._cache,
            b"Writin": self._cache,
            b"Loadin": self._cache,
            b"Use ba": self._strategy,
            b"Skip b": self._strategy,
            b"Chose ": self._strategy,
        }

    def other(self, message: bytes, number: int) -> None:
        """A message that no first bytes announce: it begins with a name, or is unknown."""
        if self.severity in ("W", "E"):
            self._warning(message, number)
            return
        if message.startswith(self._node_key):
            self._node_tensors(message[len(self._node_key) :])
            return
        if self._tuned:
            if b"Set Tactic Name: " in message:
                return
            if b" got cached result: " in message and self.tuning.cached(message, number):
                return
            if b"Fastest Tactic: " in message:
                self.tuning.fastest(message, number)
                return
            at = message.find(b" has no valid tactics for this config")
            if at > 0:
                self.tuning.no_tactic(message[:at], message, number)
                return
        if b"Could not find any implementation" in message:
            self._warning(message, number)
            return
        self._build.unrecognized += 1

    def take(self) -> Iterator[Observed]:
        """The builds that are over."""
        ready, self._ready, self.finished = self._ready, [], False
        yield from ready

    def end(self, number: int) -> Iterator[Observed]:
        """The log is over."""
        if number:
            self._close(number)
        yield from self.take()

    # Where a build begins and ends.

    def _begins(self, number: int) -> bool:
        """A line that only occurs at the beginning of a build: what came before is another build."""
        if self._section or (self._tuned and not self._calibrating):
            self._close(number - 1)
        return True

    def _close(self, last_line: int) -> None:
        build, tuning = self._build, self.tuning
        tuning.finish()
        self._end_section()
        if self._kept is not None:
            build.candidates, build.reformats = self._kept
        else:
            build.candidates, build.reformats = tuning.candidates, tuning.reformats
        if not (self._ready or self._builds) or self._says_something():
            self._ready.append(build)
            self._builds += 1
        build.complete = bool(build.layers) and not self._broken
        build.last_line = last_line
        self.finished = True
        self._build = Observed(first_line=last_line + 1, tensorrt=build.tensorrt)
        tuning.candidates, tuning.reformats = {}, {}
        self._kept, self._section = None, None
        self._broken = self._tuned = self._calibrating = False

    def _says_something(self) -> bool:
        """Behind a build, trtexec may only load and run an engine: that is no build."""
        build = self._build
        return bool(build.layers or self._tuned or build.nodes or build.missing or build.calibration)

    def _running(self, message: bytes, number: int) -> bool:
        if self._section or self._tuned or self._build.nodes:
            self._close(number - 1)
        return self._version(message, number)

    def _original(self, message: bytes, number: int) -> bool:
        if message.endswith(b" layers"):
            self._begins(number)
        return message.startswith((b"Original: ", b"Original shape"))

    def _adding(self, message: bytes, number: int) -> bool:
        if message.startswith(b"Adding network input: "):
            # One line for each input: only the first can begin a build.
            if self._section or self._tuned:
                self._close(number - 1)
            self._build.verbose = True
        return message.startswith((b"Adding network input", b"Adding reformat layer", b"Adding 1 engine"))

    def _strategy(self, message: bytes, number: int) -> bool:
        """TensorRT 10 tunes with several backend strategies and keeps one."""
        if b"backend strategy" not in message:
            return False
        tuning = self.tuning
        tuning.finish()
        if not message.startswith(b"Skip "):
            self._kept = tuning.candidates, tuning.reformats
        tuning.candidates, tuning.reformats = {}, {}
        return True

    # The engine's layers.

    def _layers(self, message: bytes, number: int) -> bool:
        if message.rstrip() != b"Layers:":
            return False
        self._new_section()
        return True

    def _engine(self, message: bytes, number: int) -> bool:
        if message.startswith(b"Engine Layer Information:"):
            self._new_section()
            return True
        if message.startswith(b"Engine could not be created") or self.severity == "E":
            return False
        return message.startswith(
            (b"Engine generation", b"Engine built", b"Engine Metadata", b"Engine deserialized")
        )

    def _new_section(self) -> None:
        self.tuning.finish()
        self._end_section()
        self._section = []

    def _end_section(self) -> None:
        """A second section of the same engine (trtexec --dumpLayerInfo) replaces a shorter or plainer one."""
        if self._section and len(self._section) >= len(self._build.layers):
            self._build.layers = self._section

    def _one_line(self, message: bytes, number: int) -> bool:
        return self._layer(read_one_line(_text(message), line=number))

    def _detailed(self, message: bytes, number: int) -> bool:
        if b", LayerType: " not in message:
            return False
        return self._layer(read_detailed(_text(message), line=number))

    def _layer(self, layer: Layer | None) -> bool:
        if self._section is None:
            self._section = []
        if layer is None:
            self._broken = True
        else:
            self._section.append(layer)
        return True

    # Tuning.

    def _fastest(self, message: bytes, number: int) -> None:
        self.tuning.fastest(message, number)

    def _dashes(self, message: bytes, number: int) -> bool:
        rest = message[16:]
        if rest.startswith(b"Timing Runner: "):
            self._tuned = True
            self.tuning.timing_runner(rest[15:], number)
        elif rest.startswith(b"Timing "):
            self._tuned = True
            self.tuning.timing_old(rest[7:], number)
        return True

    def _stars(self, message: bytes, number: int) -> bool:
        at = message.find(b"Autotuning ")
        colon = message.find(b":", at)
        if at < 0 or colon < 0:
            return False
        self._tuned = True
        self.tuning.format_combination(message[colon + 1 :].rstrip(b"* \r"), reformat=message[at + 11] == 82)
        return True

    def _equals(self, message: bytes, number: int) -> bool:
        rest = message[16:]
        if rest.startswith(b"Computing costs for"):
            self._tuned = True
            self.tuning.computing_costs(rest[19:])
        elif rest.startswith(b"Computing reformatting costs"):
            self._tuned = True
            self.tuning.computing_reformats()
        else:
            return message.startswith(b"=== ")
        return True

    def _skipping(self, message: bytes, number: int) -> bool:
        """``Skipping RUNNER: No valid tactics for NAME``."""
        at = message.find(b": No valid tactics for ")
        if at < 0:
            return message.startswith((b"Skipping tactic ", b"Skipped printing"))
        self.tuning.no_tactic(message[9:at], message, number)
        return True

    def _foreign(self, message: bytes, number: int) -> bool:
        """`` (foreignNode) …``: what Myelin says about itself."""
        rest = message[15:]
        if rest[:1].isdigit() or rest.startswith(b"  "):
            self.tuning.table_row(message)
        elif rest.startswith(b"Autotuning op "):
            self.tuning.table_begins(rest[14:].partition(b": [ONNX Layer")[0], number)
        return True

    # The network.

    def _parsing(self, message: bytes, number: int) -> bool:
        # "Parsing node: NAME [OP]"; lines "NAME [OP] inputs: …" and "outputs: …" follow.
        name, separator, op = message[14:].rstrip().rpartition(b" [")
        if not separator or not op.endswith(b"]"):
            return False
        self._node_key = message[14:].rstrip() + b" "
        text = _text(name)
        self._node = self._build.nodes[text] = NetworkNode(text, _text(op[:-1]), number)
        if op in (b"QuantizeLinear]", b"DequantizeLinear]") and self._build.explicit is None:
            self._build.explicit = Evidence(number, _text(message))
        return True

    def _node_tensors(self, rest: bytes) -> None:
        if self._node is None:
            return
        if rest.startswith(b"inputs: "):
            self._node.raw_inputs = rest
        elif rest.startswith(b"outputs: "):
            self._node.raw_outputs = rest

    def _registering(self, message: bytes, number: int) -> bool:
        """``Registering layer: LAYER for ONNX node: NODE``."""
        if message.startswith(b"Registering layer: "):
            layer, separator, node = message[19:].partition(b" for ONNX node: ")
            if separator and layer != node:
                self._build.registered[_text(layer)] = _text(node)
        return True

    def _metadata(self, message: bytes, number: int) -> bool:
        found = _METADATA.match(message)
        if found:
            self._build.myelin_nodes[_text(found.group(1))] = onnx_nodes(_text(found.group(2)))
        return found is not None

    def _version(self, message: bytes, number: int) -> bool:
        found = _VERSION.search(message)
        if found:
            self._build.tensorrt = version(_text(found.group(1) or found.group(2)))
        return found is not None

    # Precision, scales, calibration, warnings.

    def _flags(self, message: bytes, number: int) -> bool:
        if not message.startswith((b"Precision: ", b"    Flags  ")):
            return False
        self._build.precision_flags = Evidence(number, _text(message))
        self._build.int8_enabled = b"INT8" in message or b"best" in message
        return True

    def _missing(self, message: bytes, number: int) -> bool:
        found = _MISSING.match(message)
        if found:
            self._build.missing.setdefault(_text(found.group(1)), Evidence(number, _text(message)))
        return found is not None

    def _rejecting(self, message: bytes, number: int) -> bool:
        found = _REJECTING.match(message)
        if found:
            lines = self._build.rejected.setdefault(_text(found.group(1)), [])
            if len(lines) < 16:
                lines.append((_text(found.group(2)), Evidence(number, _text(message))))
        return found is not None

    def _scale(self, message: bytes, number: int) -> bool:
        found = _SCALE.search(message)
        if found:
            self._build.scales.setdefault(_text(found.group(1)), Evidence(number, _text(message)))
        return found is not None

    def _calibration(self, message: bytes, number: int) -> bool:
        if message.startswith(b"Calibration completed"):
            found = _SECONDS.search(message)
            self._calibrate(seconds=number_in(found.group(1)) if found else None)
            self._calibrating = False
            return True
        if message.startswith(b"Calibrator won't be used in explicit") and self._build.explicit is None:
            self._build.explicit = Evidence(number, _text(message))
        return False

    def _calibrated(self, message: bytes, number: int) -> bool:
        found = _CALIBRATED.search(message)
        if found:
            self._calibrate(batches=int(found.group(1)[:9]) + 1)
        return found is not None

    def _starting(self, message: bytes, number: int) -> bool:
        if not message.startswith(b"Starting Calibration"):
            return False
        # What was tuned so far was the engine that calibrates, in FP32.
        self.tuning.finish()
        self.tuning.candidates, self.tuning.reformats = {}, {}
        self._calibrating = True
        self._calibrate()
        return True

    def _cache(self, message: bytes, number: int) -> bool:
        lower = message[:40].lower()
        if b"calibration cache" not in lower:
            return False
        self._calibrate(cache="written" if lower.startswith(b"writing") else "read")
        return True

    def _calibrate(
        self, *, batches: int | None = None, seconds: float | None = None, cache: str | None = None
    ) -> None:
        now = self._build.calibration or Calibration()
        self._build.calibration = Calibration(
            now.batches if batches is None else batches,
            now.seconds if seconds is None else seconds,
            now.cache if cache is None else cache,
        )

    def _warning(self, message: bytes, number: int) -> None:
        text = _text(message.rstrip())
        if not text:
            return
        self._build.warn(text, number)
        found = _CONSTRAINED.search(message)
        if found:
            name = next(group for group in found.groups() if group is not None)
            self._build.constrained.setdefault(_text(name), Evidence(number, text))
        elif b"Skipping tactic" in message:
            self.tuning.skipped(message, number)


def version(text: str) -> str:
    """``8.5.2``, or NV_TENSORRT_VERSION as printed: 8502 → 8.5.2, 101600 → 10.16.0, 7.2 as it is."""
    if "." in text or not text.isdigit():
        return text.strip(".")
    number = int(text[:9])
    if number >= 100_000:
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")

"""Messages of the ONNX parser, of the tuner, and about precision, scales and calibration.

Each class fills its part of the build that is read.
"""

from __future__ import annotations

import re

from trt_int8.report.read.layer_information import onnx_nodes
from trt_int8.report.read.lines import number_in, text
from trt_int8.report.read.network import NetworkNode
from trt_int8.report.read.observed import Reading
from trt_int8.report.records import Evidence, LoggedCalibration

_METADATA = re.compile(rb"ForeignNode (.*) metadata: ?(.*)$", re.DOTALL)


class NetworkMessages:
    """Fills ``nodes``, ``registered``, ``myelin_nodes`` and ``explicit`` of the build."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._node: NetworkNode | None = None
        #: How the lines with the tensors of the node begin: "NAME [OP] ".
        self.node_key = b"\n"

    def parsing(self, message: bytes, number: int) -> bool:
        """``Parsing node: NAME [OP]``; lines ``NAME [OP] inputs: …`` and ``outputs: …`` follow."""
        key = message[14:].rstrip()
        name, separator, op = key.rpartition(b" [")
        if not separator or not op.endswith(b"]"):
            return False
        build = self._reading.build
        self.node_key = key + b" "
        known = text(name)
        self._node = build.nodes[known] = NetworkNode(known, text(op[:-1]), number)
        if build.explicit is None and op in (b"QuantizeLinear]", b"DequantizeLinear]"):
            build.explicit = Evidence(number, text(message))
        return True

    def tensors(self, rest: bytes) -> None:
        """``inputs: [a -> (1, 3)[FLOAT]], …`` of the node above; parsed when somebody asks."""
        if self._node is None:
            return
        if rest.startswith(b"inputs: "):
            self._node.raw_inputs = rest
        elif rest.startswith(b"outputs: "):
            self._node.raw_outputs = rest

    def registering(self, message: bytes, number: int) -> bool:
        """``Registering layer: LAYER for ONNX node: NODE``."""
        if message.startswith(b"Registering layer: "):
            layer, separator, node = message[19:].partition(b" for ONNX node: ")
            if separator and layer != node:
                self._reading.build.registered[text(layer)] = text(node)
        return True

    def metadata(self, message: bytes, number: int) -> bool:
        """``ForeignNode {…} metadata: [ONNX Layer: a][ONNX Layer: b]``."""
        found = _METADATA.match(message)
        if found:
            self._reading.build.myelin_nodes[text(found.group(1))] = onnx_nodes(text(found.group(2)))
        return found is not None


_MISSING = re.compile(rb"Missing scale and zero-point for tensor (.*?), expect fall back")

_SCALE = re.compile(
    rb"INT8 Inference Tensor [Ss]cales(?: and zero-points)?: (.*?)(?: scale and zero-point .*| \[\d+\])?$"
)

_CALIBRATED = re.compile(rb"Calibrated batch (\d{1,9}) in")

_SECONDS = re.compile(rb"completed in ([\d.eE+-]+) seconds")

#: Lines kept per layer: an implementation for each format is rejected on its own.
_MOST_REJECTED = 16


class ScaleMessages:
    """Fills ``missing``, ``rejected``, ``scales``, ``calibration`` and the precision flags of the build."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def flags(self, message: bytes, number: int) -> bool:
        """``Precision: FP32+INT8`` (trtexec), ``Flags | [INT8]`` (Polygraphy)."""
        if not message.startswith((b"Precision: ", b"    Flags  ")):
            return False
        build = self._reading.build
        build.precision_flags = Evidence(number, text(message))
        build.int8_enabled = b"INT8" in message or b"best" in message
        return True

    def missing(self, message: bytes, number: int) -> bool:
        """``Missing scale and zero-point for tensor T, expect fall back to non-int8 implementation …``."""
        found = _MISSING.match(message)
        if found:
            self._reading.build.missing.setdefault(text(found.group(1)), Evidence(number, text(message)))
        return found is not None

    def rejecting(self, message: bytes, number: int) -> bool:
        """``Rejecting some int8 implementation of layer X due to missing int8 scales for tensor T at …``."""
        said, reason, tensor = message.partition(b" due to missing int8 scales for tensor ")
        _, which, layer = said.partition(b"implementation of layer ")
        if not reason or not which:
            return False
        lines = self._reading.build.rejected.setdefault(text(layer), [])
        if len(lines) < _MOST_REJECTED:
            lines.append((text(tensor.rpartition(b" at ")[0]), Evidence(number, text(message))))
        return True

    def scale(self, message: bytes, number: int) -> bool:
        """``INT8 Inference Tensor scales and zero-points: T scale and zero-point …``."""
        found = _SCALE.search(message)
        if found:
            self._reading.build.scales.setdefault(text(found.group(1)), Evidence(number, text(message)))
        return found is not None

    def starting(self, message: bytes, number: int) -> bool:
        """``Starting Calibration with batch size 50.``"""
        if not message.startswith(b"Starting Calibration"):
            return False
        self._reading.tuning.take()  # so far it was the engine that calibrates, in FP32
        self._reading.tuned = False
        self._reading.calibrating = True
        self._known()
        return True

    def calibrated(self, message: bytes, number: int) -> bool:
        """``  Calibrated batch 9 in 0.002 seconds.``"""
        found = _CALIBRATED.search(message)
        if found:
            self._known(batches=int(found.group(1)) + 1)
        return found is not None

    def calibration(self, message: bytes, number: int) -> bool:
        """``Calibration completed in 0.31 seconds.``, ``Calibrator won't be used in explicit …``."""
        build = self._reading.build
        if message.startswith(b"Calibration completed"):
            found = _SECONDS.search(message)
            self._known(seconds=number_in(found.group(1)) if found else None)
            self._reading.calibrating = False
            return True
        if message.startswith(b"Calibrator won't be used in explicit") and build.explicit is None:
            build.explicit = Evidence(number, text(message))
        return False

    def cache(self, message: bytes, number: int) -> bool:
        """``Reading Calibration Cache for calibrator: …``, ``Writing …``, Polygraphy's ``Loading …``."""
        lower = message[:40].lower()
        if b"calibration cache" not in lower:
            return False
        self._known(cache="written" if lower.startswith(b"writing") else "read")
        return True

    def _known(
        self, *, batches: int | None = None, seconds: float | None = None, cache: str | None = None
    ) -> None:
        now = self._reading.build.calibration or LoggedCalibration()
        self._reading.build.calibration = LoggedCalibration(
            now.batches if batches is None else batches,
            now.seconds if seconds is None else seconds,
            now.cache if cache is None else cache,
        )


_COMBINATION = b"*************** Autotuning format combination: "

_STARS = b" ***************"


class TuningMessages:
    """Passes what is tuned to the `Tuning` of the reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tuning = reading.tuning

    def tactic(self, message: bytes, number: int) -> None:
        """``Tactic: 0x… Time: 0.004`` and what else begins so."""
        self._tuning.pending.append(message)

    def fastest(self, message: bytes, number: int) -> None:
        """``Fastest Tactic: 0x… Time: 0.004``."""
        self._tuning.fastest(message, number)

    def dashes(self, message: bytes, number: int) -> bool:
        """``--------------- Timing Runner: NAME (RUNNER)``; the ONNX header's rules are dashes, too."""
        if message.startswith(b"Timing Runner: ", 16):
            self._reading.tuned = True
            self._tuning.timing_runner(message[31:], number)
        elif message.startswith(b"Timing ", 16):
            self._reading.tuned = True
            self._tuning.timing_old(message[23:], number)
        return True

    def stars(self, message: bytes, number: int) -> bool:
        """``*************** Autotuning format combination: A -> B ****…``, ``Autotuning Reformat: …``."""
        if message.startswith(_COMBINATION):
            formats = message[47:]
        elif message.startswith(b"Autotuning ", 16):
            formats = message.partition(b":")[2].strip()
        else:
            return False
        self._reading.tuned = True
        if formats.endswith(_STARS):
            formats = formats[: -len(_STARS)]
        self._tuning.format_combination(formats, reformat=message.startswith(b"Reformat", 27))
        return True

    def equals(self, message: bytes, number: int) -> bool:
        """``=============== Computing costs for NAME``, ``Computing reformatting costs``."""
        if message.startswith(b"Computing costs for", 16):
            self._tuning.computing_costs(message[35:])
        elif message.startswith(b"Computing reformatting costs", 16):
            self._tuning.computing_reformats()
        else:
            return message.startswith(b"=== ")
        self._reading.tuned = True
        return True

    def skipping(self, message: bytes, number: int) -> bool:
        """``Skipping RUNNER: No valid tactics for NAME``."""
        at = message.find(b": No valid tactics for ")
        if at < 0:
            return message.startswith((b"Skipping tactic ", b"Skipped printing"))
        self._tuning.no_tactic(message[9:at], message, number)
        return True

    def unsupported(self, message: bytes, number: int) -> None:
        """``UNSUPPORTED_STATE: Skipping tactic 0 due to insufficient memory …``."""
        self._tuning.skipped(message, number)

    def foreign(self, message: bytes, number: int) -> bool:
        """`` (foreignNode) …``: what Myelin says about itself. The rows of its tables go another way."""
        if message.startswith(b"Autotuning op ", 15):
            self._tuning.table_begins(message[29:].partition(b": [ONNX Layer")[0], number)
        return True

    def strategy(self, message: bytes, number: int) -> bool:
        """TensorRT 10 tunes with several backend strategies: ``Use``, ``Skip`` or ``Chose`` one."""
        if b"backend strategy" not in message:
            return False
        passed = self._tuning.take()
        if not message.startswith(b"Skip "):
            self._reading.kept = passed
        return True

    def named(self, message: bytes, number: int) -> bool:
        """Lines that begin with the name of a layer or runner; False for others."""
        if b" got cached result: " in message and self._tuning.cached(message, number):
            return True
        if b"Fastest Tactic: " in message:
            self._tuning.fastest(message, number)
            return True
        at = message.find(b" has no valid tactics for this config")
        if at > 0:
            self._tuning.no_tactic(message[:at], message, number)
        return at > 0

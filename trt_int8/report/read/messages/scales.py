"""Messages about precision, scales and calibration."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from trt_int8.report.read.lines import number_in, text
from trt_int8.report.read.messages import Messages, begins, grammar
from trt_int8.report.records import Evidence, LoggedCalibration

_MISSING = re.compile(rb"Missing scale and zero-point for tensor (.*?), expect fall back")
_SCALE = re.compile(
    rb"INT8 Inference Tensor [Ss]cales(?: and zero-points)?: (.*?)(?: scale and zero-point .*| \[\d+\])?$"
)
_CALIBRATED = re.compile(rb"Calibrated batch (\d{1,9}) in")
_SECONDS = re.compile(rb"completed in ([\d.eE+-]+) seconds")
#: Lines kept per layer: TensorRT rejects the implementation for each format separately.
_MOST_REJECTED = 16


@grammar
class ScaleMessages(Messages):
    """Fills ``missing``, ``rejected``, ``scales``, ``calibration`` and the precision flags of the build."""

    @begins(b"Precis", b"    Fl")
    def flags(self, message: bytes, number: int) -> bool:
        """``Precision: FP32+INT8`` (trtexec), ``Flags | [INT8]`` (Polygraphy)."""
        if not message.startswith((b"Precision: ", b"    Flags  ")):
            return False
        build = self._reading.build
        build.precision_flags = Evidence(number, text(message))
        build.int8_enabled = b"INT8" in message or b"best" in message
        return True

    @begins(b"Missin")
    def missing(self, message: bytes, number: int) -> bool:
        """``Missing scale and zero-point for tensor T, expect fall back to non-int8 implementation …``."""
        found = _MISSING.match(message)
        if found:
            self._reading.build.missing.setdefault(text(found.group(1)), Evidence(number, text(message)))
        return found is not None

    @begins(b"Reject")
    def rejecting(self, message: bytes, number: int) -> bool:
        """``Rejecting some int8 implementation of layer X due to missing int8 scales for tensor T at …``."""
        said, reason, tensor = message.partition(b" due to missing int8 scales for tensor ")
        _, implementation, layer = said.partition(b"implementation of layer ")
        if not reason or not implementation:
            return False
        lines = self._reading.build.rejected.setdefault(text(layer), [])
        if len(lines) < _MOST_REJECTED:
            lines.append((text(tensor.rpartition(b" at ")[0]), Evidence(number, text(message))))
        return True

    @begins(b"INT8 I", b"[INT8 ")
    def scale(self, message: bytes, number: int) -> bool:
        """``INT8 Inference Tensor scales and zero-points: T scale and zero-point …``."""
        found = _SCALE.search(message)
        if found:
            self._reading.build.scales.setdefault(text(found.group(1)), Evidence(number, text(message)))
        return found is not None

    @begins(b"Starti")
    def starting(self, message: bytes, number: int) -> bool:
        """``Starting Calibration with batch size 50.``"""
        if not message.startswith(b"Starting Calibration"):
            return False
        self._reading.tuning.take()  # so far TensorRT tuned the FP32 engine that it calibrates with
        self._reading.tuned = False
        self._reading.calibrating = True
        self._known()
        return True

    @begins(b"  Cali")
    def calibrated(self, message: bytes, number: int) -> bool:
        """``  Calibrated batch 9 in 0.002 seconds.``"""
        found = _CALIBRATED.search(message)
        if found:
            self._known(batches=int(found.group(1)) + 1)
        return found is not None

    @begins(b"Calibr")
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

    @begins(b"Readin", b"Writin", b"Loadin")
    def cache(self, message: bytes, number: int) -> bool:
        """``Reading Calibration Cache for calibrator: …``, ``Writing …``, Polygraphy's ``Loading …``."""
        lower = message[:40].lower()
        if b"calibration cache" not in lower:
            return False
        self._known(cache="written" if lower.startswith(b"writing") else "read")
        return True

    def _known(self, **facts: Any) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        build = self._reading.build
        build.calibration = replace(build.calibration or LoggedCalibration(), **known)

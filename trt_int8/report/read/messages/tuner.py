"""Messages of the tuner: what TensorRT times, format by format and runner by runner."""

from __future__ import annotations

from trt_int8.report.read.messages import Messages, begins, grammar
from trt_int8.report.read.observed import Reading

_COMBINATION, _STARS = b"*************** Autotuning format combination: ", b" ***************"


@grammar
class TuningMessages(Messages):
    """Passes what was tuned to the `Tuning` of the reading."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._tuning = reading.tuning

    @begins(b"Tactic")
    def tactic(self, message: bytes, number: int) -> None:
        """``Tactic: 0x… Time: 0.004`` and other lines about one tactic."""
        self._tuning.pending.append(message)

    @begins(b"Fastes")
    def fastest(self, message: bytes, number: int) -> None:
        """``Fastest Tactic: 0x… Time: 0.004``."""
        self._tuning.fastest(message, number)

    @begins(b"------")
    def dashes(self, message: bytes, number: int) -> bool:
        """``--------------- Timing Runner: NAME (RUNNER)``. The ONNX header has lines of dashes, too."""
        if message.startswith(b"Timing Runner: ", 16):
            self._reading.tuned = True
            self._tuning.timing_runner(message[31:], number)
        elif message.startswith(b"Timing ", 16):
            self._reading.tuned = True
            self._tuning.timing_old(message[23:], number)
        return True

    @begins(b"******")
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

    @begins(b"======")
    def equals(self, message: bytes, number: int) -> bool:
        """``=============== Computing costs for NAME``, ``Computing reformatting costs``."""
        if message.startswith(b"Computing costs for", 16):
            self._tuning.computing_costs(message[35:], reformat=False)
        elif message.startswith(b"Computing reformatting costs", 16):
            self._tuning.computing_costs(b"", reformat=True)
        else:
            return message.startswith(b"=== ")
        self._reading.tuned = True
        return True

    @begins(b"Skippi")
    def skipping(self, message: bytes, number: int) -> bool:
        """``Skipping RUNNER: No valid tactics for NAME``."""
        at = message.find(b": No valid tactics for ")
        if at < 0:
            return message.startswith((b"Skipping tactic ", b"Skipped printing"))
        self._tuning.no_tactic(message[9:at], message, number)
        return True

    @begins(b"UNSUPP")
    def unsupported(self, message: bytes, number: int) -> None:
        """``UNSUPPORTED_STATE: Skipping tactic 0 due to insufficient memory …``."""
        self._tuning.skipped(message, number)

    @begins(b" (fore")
    def foreign(self, message: bytes, number: int) -> bool:
        """`` (foreignNode) Autotuning op X: …``. `observe` collects the rows of the table that follows."""
        if message.startswith(b"Autotuning op ", 15):
            self._tuning.table_begins(message[29:].partition(b": [ONNX Layer")[0], number)
        return True

    @begins(b"Use ba", b"Skip b", b"Chose ")
    def strategy(self, message: bytes, number: int) -> bool:
        """TensorRT 10 tunes with several backend strategies: ``Use``, ``Skip`` or ``Chose`` one."""
        if b"backend strategy" not in message:
            return False
        passed = self._tuning.take()
        if not message.startswith(b"Skip "):
            self._reading.kept = passed
        return True

    def named(self, message: bytes, number: int) -> bool:
        """``RUNNER has no valid tactics for this config``, ``NAME [A -> B] got cached result: …``."""
        if not self._reading.tuned or self._reading.section is not None:
            return False
        if b" got cached result: " in message and self._tuning.cached(message, number):
            return True
        if b"Fastest Tactic: " in message:
            self._tuning.fastest(message, number)
            return True
        at = message.find(b" has no valid tactics for this config")
        if at > 0:
            self._tuning.no_tactic(message[:at], message, number)
        return at > 0

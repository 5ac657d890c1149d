"""Messages of the tuner: which layer, which formats, which runner, and what came of it."""

from __future__ import annotations

from trt_int8.report.observed import Reading

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

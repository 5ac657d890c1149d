"""Tuning in a log: candidates of each layer, times of reformats, Myelin's tables.

Names and format combinations stay bytes here, as most candidates are dropped. Only the kept ones are decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from trt_int8.report.read.datatypes import combination, kernel_type
from trt_int8.report.read.lines import number_in, text
from trt_int8.report.records import Candidate

_ROW = re.compile(rb"\(foreignNode\) +\d+, ([\d.eE+-]+), [^,\n]*, [^,\n]*, ([^,\n]+), ")
#: Tactic lines of one runner, or rows of one table, that are collected before they are reduced to the best.
_PENDING = 4096


class Tried(NamedTuple):
    """A way to run a layer, as printed. ``operand`` is the datatype of a kernel of Myelin's tables."""

    formats: bytes
    runner: bytes
    best: float | None
    outcome: str
    line: int
    source: bytes
    operand: str = ""

    def candidate(self) -> Candidate:
        """Return the record of the report."""
        formats = text(self.formats).strip()
        inputs, outputs = ((self.operand,), ()) if self.operand else combination(formats)
        return Candidate(
            inputs, outputs, formats, text(self.runner), self.best, self.outcome, self.line, self.source
        )


#: (format combination, outcome) → the best candidate.
Kept = dict[tuple[bytes, str], Tried]
#: (tensor or empty for any, format combination) → the best time of a copy, ms.
Reformats = dict[tuple[bytes, bytes], float]


@dataclass
class Tuning:
    """Candidates by layer name, for one pass of tuning.

    Each layer keeps the best candidate for each (format combination, outcome), so the network bounds the
    memory, not the log. `observe` appends to ``pending`` (lines of tactics of the current runner) and
    ``table`` (rows of Myelin's current table, best tactic first: id, cost in ms, ratio, correlation, kernel,
    hash); they stay the same lists.
    """

    candidates: dict[bytes, Kept] = field(default_factory=dict)
    reformats: Reformats = field(default_factory=dict)
    layer: bytes = b""
    formats: bytes = b""
    runner: bytes = b""
    reformatting: bool = False
    opened: int = 0
    pending: list[bytes] = field(default_factory=list)
    table: list[bytes] = field(default_factory=list)
    table_op: bytes = b""
    table_line: int = 0

    def computing_costs(self, name: bytes, *, reformat: bool) -> None:
        """``===… Computing costs for NAME`` (none before 8.6), ``Computing reformatting costs``."""
        self.close()
        self.layer, self.formats, self.reformatting = name.strip(), b"", reformat

    def format_combination(self, formats: bytes, *, reformat: bool) -> None:
        """``*************** Autotuning format combination: A -> B ***************``."""
        self.close()
        self.formats, self.reformatting = formats, reformat

    def timing_runner(self, rest: bytes, number: int) -> None:
        """``--------------- Timing Runner: NAME (RUNNER[0x…])``, `` [profile 1]`` on further profiles."""
        self.close()
        name, separator, runner = rest.rpartition(b" (")
        if separator:
            self.layer, self.opened = name, number
            self.runner = runner.partition(b"[0x")[0].partition(b")")[0]

    def timing_old(self, rest: bytes, number: int) -> None:
        """``--------------- Timing NAME(14)`` up to TensorRT 5, where a runner is a number."""
        self.close()
        name, separator, runner = rest.rpartition(b"(")
        if separator and runner[:-1].isdigit():
            self.layer, self.runner, self.formats, self.opened = name, runner[:-1], b"", number

    def shorten(self) -> None:
        """Reduce ``pending`` and ``table`` if they are long. A log may have one runner without end."""
        pending = self.pending
        if len(pending) > _PENDING:
            timed = [each for each in pending if _time(each) is not None]
            best = min(timed, key=lambda each: _time(each) or 0.0, default=None)
            pending[:] = [each for each in (best, _refused(pending)) if each is not None]
        del self.table[_PENDING:]

    def table_begins(self, operation: bytes, number: int) -> None:
        """`` (foreignNode) Autotuning op X: [ONNX Layer: X]`` of Myelin."""
        self._close_table()
        self.table_op, self.table_line = operation, number

    def fastest(self, line: bytes, number: int) -> None:
        """``Fastest Tactic: … Time: …``: the best tactic of a runner, after all of its tactics."""
        self._reduce(_time(line), number, line)

    def no_tactic(self, runner: bytes, line: bytes, number: int) -> None:
        """``RUNNER has no valid tactics for this config, skipping``."""
        self.pending.clear()
        if self.layer and not self.reformatting:
            self._keep("no_tactic", runner, None, number, line)
        self.runner = b""

    def skipped(self, line: bytes, number: int) -> None:
        """A tactic that failed at run time (exception, memory)."""
        if self.layer and not self.reformatting:
            self._keep("skipped", self.runner, None, number, line)

    def cached(self, message: bytes, number: int) -> bool:
        """``NAME [A -> B] got cached result: RUNNER, tactic 0x…, 0.005 ms``."""
        named, _, result = message.partition(b"] got cached result: ")
        name, opening, formats = named.rpartition(b" [")
        runner, _, time = result.partition(b", tactic ")
        if not opening or not time:
            return False
        self.close()
        self.layer, self.formats = name, formats
        best = number_in(time.partition(b", ")[2].removesuffix(b" ms"))
        if self.layer.startswith(b"Optimizer Reformat("):
            self._keep_reformat(best)
        else:
            self._keep("cached", runner, best, number, message)
        return True

    def close(self) -> None:
        """End the current runner. A log may end anywhere."""
        if self.table:
            self._close_table()
        if self.pending:
            if self.runner:
                self._reduce(None, self.opened, self.pending[0])
            self.pending.clear()
        self.runner = b""

    def take(self) -> tuple[dict[bytes, Kept], Reformats]:
        """End the pass of tuning: return its candidates and reformats, and forget them."""
        self.close()
        kept = self.candidates, self.reformats
        self.candidates, self.reformats = {}, {}
        return kept

    def _reduce(self, best: float | None, number: int, line: bytes) -> None:
        if self.table:
            self._close_table()
        refused = None
        if best is None:
            best = min((time for each in self.pending if (time := _time(each)) is not None), default=None)
            refused = _refused(self.pending) if best is None else None
        self.pending.clear()
        layer = self.layer
        is_reformat = layer == b"<reformat>" or layer.startswith(b"Optimizer Reformat")
        if self.reformatting or is_reformat:
            self._keep_reformat(best)
        if layer and not is_reformat:
            outcome = "skipped" if best is None else "timed"
            self._keep(outcome, self.runner, best, number, line if refused is None else refused)

    def _keep(self, outcome: str, runner: bytes, best: float | None, number: int, line: bytes) -> None:
        kept = self.candidates.setdefault(self.layer, {})
        key = (self.formats, outcome)
        known = kept.get(key)
        if known is None or (best is not None and (known.best is None or best < known.best)):
            kept[key] = Tried(self.formats, runner, best, outcome, number, line)

    def _keep_reformat(self, best: float | None) -> None:
        if best is None:
            return
        layer = self.layer
        for name in (b"", layer[19:-10]) if layer.endswith(b" -> <out>)") else (b"",):
            key = (name, self.formats)
            known = self.reformats.get(key)
            if known is None or best < known:
                self.reformats[key] = best

    def _close_table(self) -> None:
        rows, line = b"\n".join(self.table), self.table_line
        self.table.clear()
        self.table_line = 0
        if not self.layer or not line:
            return  # the beginning of the table is missing
        kept = self.candidates.setdefault(self.layer, {})
        label = b"%s %s" % (self.formats, self.table_op)
        for time, kernel in _ROW.findall(rows):
            # The best tactic comes first, so the first row of each datatype is its best one.
            operand = kernel_type(text(kernel))
            key = (label, operand)
            if key not in kept:
                source = b"Autotuning op %s: %s ms, %s" % (self.table_op, time, kernel)
                kept[key] = Tried(label, b"Myelin " + kernel, number_in(time), "timed", line, source, operand)


def reformat_costs(reformats: Reformats) -> dict[tuple[str, str, str], float]:
    """Return (tensor or "" for any, from datatype, to datatype) → the best time of a copy in ms."""
    costs: dict[tuple[str, str, str], float] = {}
    for (name, formats), best in reformats.items():
        inputs, outputs = combination(text(formats))
        if inputs and outputs:
            key = (text(name), inputs[0], outputs[0])
            costs[key] = min(best, costs.get(key, best))
    return costs


def _refused(lines: list[bytes]) -> bytes | None:
    return next((line for line in lines if b"kipped" in line or b"scratch" in line), None)


def _time(line: bytes) -> float | None:
    """Return the time of a tactic. None stands for no time, zero (not measured) and infinity (failed)."""
    at = max(line.rfind(b"Time: "), line.rfind(b"time "))
    time = number_in(line[at + 5 :]) if at >= 0 else None
    return time if time is not None and 0 < time < 1e30 else None

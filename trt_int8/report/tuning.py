"""What TensorRT tried while tuning: candidates of each layer, the cost of reformats, Myelin's tables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache

from trt_int8.report.formats import combination
from trt_int8.report.records import Candidate

_OLD_RUNNER = re.compile(rb"(.*)\((\d+)\)$")
_CACHED = re.compile(rb"(.*) \[(.*)\] got cached result: (\w+), tactic (\S+), (\S+) ms$")
_ROW = re.compile(rb"\(foreignNode\) +\d+, ([\d.eE+-]+), [^,\n]*, [^,\n]*, ([^,\n]+), ")
#: Operand datatypes in kernel names: ``gemm_i8i8_i32…``, ``implicit_gemm_f16f16_…``, ``h1688``, ``i8816``.
_KERNEL_TYPE = re.compile(
    r"(?:^|_)(e4m3e4m3|bf16bf16|f16f16|i8i8|f32f32|tf32tf32|i8816|h\d{3,5}|sgemm|hgemm|igemm)"
)
_KERNEL_TYPES = {
    "e4m3e4m3": "fp8",
    "bf16bf16": "bf16",
    "f16f16": "fp16",
    "hgemm": "fp16",
    "i8i8": "int8",
    "i8816": "int8",
    "igemm": "int8",
    "f32f32": "fp32",
    "tf32tf32": "fp32",
    "sgemm": "fp32",
}
#: Tactic lines of one runner that are kept before they are reduced to the best one.
_PENDING = 1024


#: (format combination, outcome) → the best candidate.
Kept = dict[tuple[str, str], Candidate]
#: (tensor or "" for any, from datatype, to datatype).
Reformat = tuple[str, str, str]


@dataclass
class Tuning:
    """Candidates by layer name, for one pass of tuning.

    ``reformats`` maps (tensor or "", from, to) to the best time in ms of a copy between two datatypes.
    Per layer, the best candidate for each (format combination, outcome) is kept, so memory is bounded by
    the network.
    """

    candidates: dict[str, Kept] = field(default_factory=dict)
    reformats: dict[Reformat, float] = field(default_factory=dict)
    layer: str = ""
    formats: str = ""
    runner: str = ""
    reformatting: bool = False
    opened: int = 0
    pending: list[bytes] = field(default_factory=list)
    table: list[bytes] = field(default_factory=list)
    table_op: str = ""
    table_line: int = 0

    def computing_costs(self, name: bytes) -> None:
        """``=============== Computing costs for NAME``; the name is empty before 8.6."""
        self._close()
        self.layer, self.formats, self.reformatting = _text(name).strip(), "", False

    def computing_reformats(self) -> None:
        """``=============== Computing reformatting costs``."""
        self._close()
        self.layer, self.formats, self.reformatting = "", "", True

    def format_combination(self, formats: bytes, *, reformat: bool) -> None:
        """``*************** Autotuning format combination: A -> B ***************``."""
        self._close()
        self.formats, self.reformatting = _text(formats).strip(), reformat

    def timing_runner(self, rest: bytes, number: int) -> None:
        """``--------------- Timing Runner: NAME (RUNNER[0x…])``."""
        self._close()
        name, separator, runner = rest.rpartition(b" (")
        if separator:
            self.layer, self.opened = _text(name), number
            # "CaskConvolution[0x80000009])", with " [profile 1]" behind it for further profiles
            self.runner = _text(runner.partition(b"[0x")[0].partition(b")")[0])

    def timing_old(self, rest: bytes, number: int) -> None:
        """``--------------- Timing NAME(14)`` up to TensorRT 5: a runner is a number."""
        self._close()
        found = _OLD_RUNNER.match(rest)
        if found:
            self.layer, self.runner, self.formats = _text(found.group(1)), _text(found.group(2)), ""
            self.opened = number

    def tactic(self, line: bytes) -> None:
        """A line of one tactic; read when its runner is done."""
        pending = self.pending
        pending.append(line)
        if len(pending) >= _PENDING:
            times = [line for line in pending if (time := _time(line)) is not None and math.isfinite(time)]
            others = [line for line in pending if b"kipp" in line or b"scratch" in line][:1]
            best = min(times, key=lambda line: _time(line) or 0.0, default=None)
            self.pending = others if best is None else [best, *others]

    def fastest(self, line: bytes, number: int) -> None:
        """``Fastest Tactic: … Time: …``: the runner is done, and this is its best tactic."""
        best = _time(line)
        self._reduce(best if best is not None and 0 < best < 1e30 else None, number, line)

    def no_tactic(self, runner: bytes, line: bytes, number: int) -> None:
        """``RUNNER has no valid tactics for this config, skipping``."""
        self.pending = []
        if self.layer and not self.reformatting:
            self._keep("no_tactic", _text(runner), None, number, line)
        self.runner = ""

    def skipped(self, line: bytes, number: int) -> None:
        """A tactic that was refused at run time (exception, memory)."""
        if self.layer and not self.reformatting:
            self._keep("skipped", self.runner, None, number, line)

    def cached(self, message: bytes, number: int) -> bool:
        """``NAME [A -> B] got cached result: RUNNER, tactic 0x…, 0.005 ms``."""
        found = _CACHED.match(message)
        if not found:
            return False
        self._close()
        name, formats, runner, _, time = found.groups()
        self.layer, self.formats = _text(name), _text(formats)
        milliseconds = number_in(time)
        if name.startswith(b"Optimizer Reformat("):
            self._keep_reformat(milliseconds)
        else:
            self._keep("cached", _text(runner), milliseconds, number, message)
        return True

    def table_begins(self, operation: bytes, number: int) -> None:
        """Myelin's `` (foreignNode) Autotuning op X: [ONNX Layer: X]``."""
        self._close_table()
        self.table_op, self.table_line = _text(operation), number

    def table_row(self, row: bytes) -> None:
        """A row of Myelin's table, best tactic first: id, cost in ms, ratio, correlation, kernel, hash."""
        table = self.table
        if len(table) < 4 * _PENDING:
            table.append(row)

    def finish(self) -> None:
        """Read what is still pending: the log may end anywhere."""
        self._close()

    def _close(self) -> None:
        if self.table:
            self._close_table()
        if self.runner:
            if self.pending:
                self._reduce(None, self.opened, self.pending[0])
            self.runner = ""
        self.pending = []

    def _reduce(self, best: float | None, number: int, line: bytes) -> None:
        pending, self.pending = self.pending, []
        if self.table:
            self._close_table()
        times = () if best is not None else [time for each in pending if (time := _time(each)) is not None]
        finite = [time for time in times if 0 < time < 1e30]
        if finite:
            best = min(finite)
        if not self.layer and not self.reformatting:
            return
        if self.reformatting or self.layer.startswith("Optimizer Reformat") or self.layer == "<reformat>":
            self._keep_reformat(best)
            if self.layer.startswith("Optimizer Reformat") or self.layer in ("", "<reformat>"):
                return
        if best is not None:
            self._keep("timed", self.runner, best, number, line)
        else:
            refused = next((each for each in pending if b"kipped" in each or b"scratch" in each), None)
            self._keep("skipped", self.runner, None, number, refused if refused is not None else line)

    def _keep(self, outcome: str, runner: str, best: float | None, number: int, line: bytes) -> None:
        kept = self.candidates.get(self.layer)
        if kept is None:
            kept = self.candidates[self.layer] = {}
        key = (self.formats, outcome)
        known = kept.get(key)
        if known is None or (best is not None and (known.best_time_ms is None or best < known.best_time_ms)):
            inputs, outputs = combination(self.formats)
            kept[key] = Candidate(inputs, outputs, self.formats, runner, best, outcome, number, line)

    def _keep_reformat(self, best: float | None) -> None:
        inputs, outputs = combination(self.formats)
        if best is None or not inputs or not outputs:
            return
        layer = self.layer
        names = ("", layer[19:-10]) if layer.endswith(" -> <out>)") else ("",)
        for name in names:
            key = (name, inputs[0], outputs[0])
            known = self.reformats.get(key)
            if known is None or best < known:
                self.reformats[key] = best

    def _close_table(self) -> None:
        rows, self.table = b"\n".join(self.table), []
        kept = self.candidates.setdefault(self.layer, {})
        for time, kernel in _ROW.findall(rows):
            # Best tactic first: only the first row of each datatype can be the best one.
            operand = _kernel_type(kernel)
            key = (f"{self.formats} {self.table_op} {operand}", "timed")
            if key in kept:
                continue
            kept[key] = Candidate(
                (operand,),
                (),
                f"{self.formats} {self.table_op}".strip(),
                f"Myelin {_text(kernel)}",
                number_in(time),
                "timed",
                self.table_line,
                b"Autotuning op %s: %s ms, %s" % (self.table_op.encode(), time, kernel),
            )


@lru_cache(maxsize=4096)
def _kernel_type(kernel: bytes) -> str:
    return kernel_type(_text(kernel))


def kernel_type(kernel: str) -> str:
    """The datatype a kernel multiplies in, read from its name; ``unknown`` where the name does not say."""
    found = _KERNEL_TYPE.search(kernel)
    if found is None:
        return "unknown"
    word = found.group(1)
    return "fp16" if word[0] == "h" and word[1:].isdigit() else _KERNEL_TYPES[word]


def _time(line: bytes) -> float | None:
    at = max(line.rfind(b"Time: "), line.rfind(b"time "))
    return number_in(line[at + 5 :].strip()) if at >= 0 else None


def number_in(text: bytes) -> float | None:
    """A printed number; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")

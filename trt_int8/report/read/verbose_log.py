"""A TensorRT verbose log, in one pass → what each build said.

`Messages` knows where a build begins and ends, and who reads which message. Speed comes from looking at
little: the prefix of the previous line is tried first, then the first six bytes of the message choose a
handler. Lines of single tactics are kept until their runner is done, and only read where no
``Fastest Tactic`` line sums them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from trt_int8.report.read.layer_information import read_detailed, read_one_line
from trt_int8.report.read.lines import LOCATION, PREFIX, level, said_version, text
from trt_int8.report.read.messages import NetworkMessages, ScaleMessages, TuningMessages
from trt_int8.report.read.observed import Observed, Reading
from trt_int8.report.records import Evidence, Layer

#: How `trt_int8.build_engine` says in the log how the model was quantized.
RECORD_LINE = b"trt_int8: record "

#: Reads a message with its line number; False means "not mine".
Handler = Callable[[bytes, int], object]

#: What stands before and behind the name of a layer whose constraint could not be met.
_CONSTRAINED = (
    (b"o implementation of layer ", b" obeys the requested constraints"),
    (b"o implementation of ", b" obeys the requested constraints"),
    (b"For layer ", b" a non-conforming implementation was chosen"),
    (b"Could not find any implementation for node ", b""),
)

#: First six bytes of messages that are understood and say nothing a report needs.
_SILENT = (
    b"      |    In|    Ou|After |Alloca|Applyi|Assign|Block |Buildi|CONSTA|CUDA l|Castin|Compil|"
    b"Config|ConstS|Constr|ConvRe|Convol|Create|Deleti|Deseri|Detect|Disabl|Doc st|Domain|Elimin|"
    b"Enabli|Finali|Format|GRAPH |Gather|Genera|Global|Graph |Import|Input |Kernel|Layer:|Loaded|"
    b"Local |Markin|Max Sc|Mergin|Model |Number|Opset |Output|Plugin|Produc|Reserv|Retarg|Runnin|"
    b"STILL |SYMBOL|Saved |Search|Serial|Set ca|Settin|Some t|Static|Subgra|Swap t|Total |Trying|"
    b"Using |[Block|[MemUs|>>>>>>"
).split(b"|")


class Messages:
    """Reads the messages of one log; `take` gives the builds that are over."""

    def __init__(self) -> None:
        self.finished = False
        self.reading = Reading()
        self._network = NetworkMessages(self.reading)
        self._scales = ScaleMessages(self.reading)
        self._tuner = TuningMessages(self.reading)
        self._ready: list[Observed] = []
        self._builds = 0
        self._section: list[Layer] | None = None
        self._broken = False

    def handlers(self) -> dict[bytes, Handler]:
        """First six bytes of a message → what reads it."""
        network, scales, tuner = self._network, self._scales, self._tuner
        return {
            **dict.fromkeys(_SILENT, self.ignore),
            b"[TRT] ": self.longer_prefix,
            b"Tactic": tuner.tactic,
            b" (fore": tuner.foreign,
            b"Fastes": tuner.fastest,
            b"------": tuner.dashes,
            b"******": tuner.stars,
            b"======": tuner.equals,
            b"Skippi": tuner.skipping,
            b"UNSUPP": tuner.unsupported,
            b"Use ba": tuner.strategy,
            b"Skip b": tuner.strategy,
            b"Chose ": tuner.strategy,
            b"Parsin": network.parsing,
            b"Regist": network.registering,
            b"Foreig": network.metadata,
            b"Missin": scales.missing,
            b"Reject": scales.rejecting,
            b"INT8 I": scales.scale,
            b"[INT8 ": scales.scale,
            b"Precis": scales.flags,
            b"    Fl": scales.flags,
            b"Calibr": scales.calibration,
            b"  Cali": scales.calibrated,
            b"Starti": scales.starting,
            b"Readin": scales.cache,
            b"Writin": scales.cache,
            b"Loadin": scales.cache,
            b"Layer(": self._one_line,
            b"Name: ": self._detailed,
            b"Layers": self._layers,
            b"Engine": self._engine,
            b"Adding": self._adding,
            b"Origin": self._original,
            b"ONNX I": self._header,
            b"&&&& R": self._running,
            b"Tensor": self._version,
            b"trt_in": self._ours,
        }

    def ignore(self, message: bytes, number: int) -> None:
        """Stands for messages that are understood and say nothing a report needs."""

    def longer_prefix(self, message: bytes, number: int) -> bool:
        """Stands for a message that still has a part of the prefix in front."""
        return False

    def other(self, message: bytes, number: int) -> None:
        """A message that no first bytes announce: it begins with a name, or is unknown."""
        reading = self.reading
        if reading.severity in ("W", "E") or message.startswith(b"Could not find any implementation"):
            self._warning(message, number)
        elif message.startswith(self._network.node_key):
            self._network.tensors(message[len(self._network.node_key) :])
        elif not reading.tuned or self._section is not None or not self._tuner.named(message, number):
            reading.build.unrecognized += bool(message.strip())

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

    def _header(self, message: bytes, number: int) -> bool:
        """``ONNX IR version: …``: a line that only occurs before a build."""
        if self._section or (self.reading.tuned and not self.reading.calibrating):
            self._close(number - 1)
        return True

    def _original(self, message: bytes, number: int) -> bool:
        """``Original: 24 layers``."""
        if message.endswith(b" layers"):
            self._header(message, number)
        return message.startswith((b"Original: ", b"Original shape"))

    def _adding(self, message: bytes, number: int) -> bool:
        """``Adding network input: …``: one line for each input, the first of which can begin a build."""
        if message.startswith(b"Adding network input: "):
            if self._section or self.reading.tuned:
                self._close(number - 1)
            self.reading.build.verbose = True
        return message.startswith((b"Adding network input", b"Adding reformat layer", b"Adding 1 engine"))

    def _running(self, message: bytes, number: int) -> bool:
        """``&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # …``."""
        if self._section or self.reading.tuned or self.reading.build.nodes:
            self._close(number - 1)
        return self._version(message, number)

    def _version(self, message: bytes, number: int) -> bool:
        said = said_version(message)
        if said:
            self.reading.build.product, self.reading.build.tensorrt = said
        return said is not None

    def _ours(self, message: bytes, number: int) -> bool:
        """``trt_int8: building with TensorRT-RTX 1.7.1.116 for sm89``: what `trt-int8 build` writes first."""
        if message.startswith(RECORD_LINE):
            self.reading.build.record = text(message[len(RECORD_LINE) :])
            return True
        return message.startswith(b"trt_int8: building with ") and self._running(message, number)

    def _close(self, last_line: int) -> None:
        reading, build = self.reading, self.reading.build
        passed = reading.tuning.take()
        self._end_section()
        build.candidates, build.reformats = reading.kept or passed
        build.complete = bool(build.layers) and not self._broken
        build.last_line, build.tuned = last_line, reading.tuned
        if not self._builds or self._says_something():
            self._ready.append(build)
            self._builds += 1
            self.finished = True
        reading.build = Observed(first_line=last_line + 1, tensorrt=build.tensorrt, product=build.product)
        reading.kept, self._section = None, None
        reading.tuned = reading.calibrating = self._broken = False
        self._network.node_key = b"\n"

    def _says_something(self) -> bool:
        """Behind a build, trtexec may only load and run an engine: that is no build."""
        build = self.reading.build
        return bool(build.layers or self.reading.tuned or build.nodes or build.missing or build.calibration)

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
        return message.startswith(
            (b"Engine generation", b"Engine built", b"Engine Metadata", b"Engine deser")
        )

    def _new_section(self) -> None:
        self.reading.tuning.close()
        self._end_section()
        self._section = []

    def _end_section(self) -> None:
        """A second section of the same engine (trtexec --dumpLayerInfo) replaces a shorter or plainer one."""
        if self._section and len(self._section) >= len(self.reading.build.layers):
            self.reading.build.layers = self._section

    def _one_line(self, message: bytes, number: int) -> bool:
        return self._layer(read_one_line(text(message), line=number))

    def _detailed(self, message: bytes, number: int) -> bool:
        if b", LayerType: " not in message:
            return False
        return self._layer(read_detailed(text(message), line=number))

    def _layer(self, layer: Layer | None) -> bool:
        if self._section is None:
            self._section = []
        if layer is None:
            self._broken = True
        else:
            self._section.append(layer)
        return True

    # Warnings.

    def _warning(self, message: bytes, number: int) -> None:
        said = text(message.rstrip())
        if not said or said in self.reading.build.warnings:
            return
        self.reading.build.warn(said, number, error=self.reading.severity != "W")
        layer = _constrained(message)
        if layer is not None:
            self.reading.build.constrained.setdefault(text(layer), Evidence(number, said))
        elif b"Skipping tactic" in message:
            self.reading.tuning.skipped(message, number)


def _constrained(message: bytes) -> bytes | None:
    for before, behind in _CONSTRAINED:
        _, found, rest = message.partition(before)
        layer, closing, _ = rest.partition(behind) if behind else (rest.rstrip(b".)"), b".", b"")
        if found and closing:
            return layer
    return None


#: Stands for "no prefix known": no line begins with it.
_NONE = b"\0no prefix"

#: How a row of one of Myelin's tables goes on behind " (foreignNode)", but not a sentence.
_ROW = frozenset(b"%c" % digit for digit in b" 0123456789")


def observe(chunks: Iterable[list[bytes]]) -> Iterator[Observed]:
    """The builds of a log, from lists of lines without newlines."""
    messages = Messages()
    reading, other = messages.reading, messages.other
    find = messages.handlers().get
    ignore, tactic, foreign, longer = find(b"Total "), find(b"Tactic"), find(b" (fore"), find(b"[TRT] ")
    add_tactic, add_row = reading.tuning.pending.append, reading.tuning.table.append
    prefix, start, key, loud = _NONE, 0, slice(0, 6), False
    number = 0
    for lines in chunks:
        for number, line in enumerate(lines, number + 1):  # noqa: B020 - counts on
            if not line.startswith(prefix):
                prefix, start, reading.severity = _prefix(line)
                key, loud = slice(start, start + 6), reading.severity in ("W", "E")
                if start:
                    reading.build.prefixed = True
            handler = find(line[key])
            if handler is longer or (handler is None and not loud and LOCATION.match(line, start)):
                # trtexec's own "[V] " is the beginning of TensorRT's "[V] [TRT] ", and that one of
                # "[V] [TRT] ModelImporter.cpp:103: ".
                prefix, start, reading.severity = _prefix(line)
                key, loud = slice(start, start + 6), reading.severity in ("W", "E")
                handler = find(line[key])
            if handler is None:
                if b" Set Tactic Name: " not in line:
                    other(line[start:], number)
            elif handler is tactic:
                add_tactic(line)
            elif handler is ignore:
                if loud:
                    other(line[start:], number)
            elif handler is foreign and line[start + 15 : start + 16] in _ROW:
                add_row(line)
            else:
                message = line[start:]
                if handler(message, number) is False:
                    other(message, number)
                if messages.finished:
                    yield from messages.take()
        reading.tuning.shorten()
    yield from messages.end(number)


def _prefix(line: bytes) -> tuple[bytes, int, str]:
    """What to try on the next lines, where the message begins, and its level."""
    found = PREFIX.match(line)
    if found is None:
        return _NONE, 0, ""  # a bare line carries no level, and the next one may have a prefix again
    prefix, said = found.group(), level(found)
    place = LOCATION.match(line, len(prefix)) if said not in ("W", "E") else None
    if place is not None:
        prefix = line[: place.end()]
    # "[TRT]" at the end of an empty message lacks the blank that belongs to the prefix.
    return prefix if prefix.endswith(b" ") else _NONE, len(prefix), said

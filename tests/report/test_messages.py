"""The grammar of logs is open: one class reads a new message, one expression a new logger's prefix."""

import pytest

from trt_int8.report import PrecisionReport, Tensor
from trt_int8.report.read import messages, verbose_log
from trt_int8.report.read.datatypes import dtype
from trt_int8.report.read.lines import PREFIXES, any_prefix, text
from trt_int8.report.read.messages import Messages, begins, grammar, readers
from trt_int8.report.read.observed import Reading
from trt_int8.report.records import Layer

LOG = """\
[V] [TRT] Parsing node: conv1 [Conv]
[V] [TRT] Kernels of the engine
KERNEL conv1 | xmma | Int8 x | Half y
KERNEL conv2 | xmma | Half y | Half z
"""


@pytest.fixture
def own_grammars(monkeypatch):
    monkeypatch.setattr(messages, "GRAMMARS", list(messages.GRAMMARS))


def test_a_grammar_is_one_class(own_grammars):
    assert PrecisionReport.from_lines([LOG]).builds[0].layers == ()

    @grammar
    class KernelMessages(Messages):
        @begins(b"KERNEL")
        def kernel(self, message, number):
            name, runner, *tensors = text(message[7:]).split(" | ")
            read, written = (Tensor(words.split()[1], dtype(words.split()[0])) for words in tensors)
            self._reading.add_layer(
                Layer(name, f"{runner}Convolution", (read,), outputs=(written,), line=number)
            )

    build = PrecisionReport.from_lines([LOG]).last
    assert [(layer.name, layer.precision, layer.line) for layer in build.layers] == [
        ("conv1", "int8", 3),
        ("conv2", "fp16", 4),
    ]
    assert [node.node for node in build.nodes if node.precision == "int8"] == ["conv1"]
    assert build.unrecognized_lines == 0


def test_a_new_reader_takes_a_message_that_was_ignored(own_grammars):
    seen = []

    @grammar
    class TotalMessages(Messages):
        @begins(b"Total ")
        def total(self, message, number):
            seen.append((message, number))

    lines = ["[V] Total Host Persistent Memory: 528", "[V] Total Scratch Memory: 64"]
    assert PrecisionReport.from_lines(lines).builds[0].unrecognized_lines == 0
    assert seen == [(b"Total Host Persistent Memory: 528", 1), (b"Total Scratch Memory: 64", 2)]


@pytest.mark.parametrize("beginning", [b"Tactic", b"Tac"])
def test_a_beginning_has_six_bytes_and_one_reader(own_grammars, beginning):
    @grammar
    class Twice(Messages):
        @begins(beginning)
        def again(self, message, number):
            """Never called."""

    with pytest.raises(
        ValueError, match=rf"Twice.again reads .*b'{beginning.decode()}'; a beginning has 6 bytes"
    ):
        readers(Reading())


def test_a_prefix_is_one_expression(monkeypatch):
    lines = [
        f"<trt:{word}> {line}" for word, line in (("info", "Original: 2 layers"), ("warning", "odd weights"))
    ]
    (build,) = PrecisionReport.from_lines(lines).builds
    assert (build.unrecognized_lines, build.warnings.other) == (2, ())
    pattern = any_prefix([*PREFIXES.values(), rb"<trt:(\w+)> "])
    monkeypatch.setattr(verbose_log, "PREFIX", pattern)
    (build,) = PrecisionReport.from_lines(lines).builds
    assert build.unrecognized_lines == 0
    assert [(said.line, said.text) for said in build.warnings.other] == [(2, "odd weights")]

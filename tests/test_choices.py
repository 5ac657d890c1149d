"""The words of arguments against the tables that they choose from."""

import subprocess
import sys

import pytest

from trt_int8 import choices


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ("PLACEMENTS", "trt_int8.quantization.placement:PLACEMENTS"),
        ("PRESETS", "trt_int8.batches:PRESETS"),
        ("MERGES", "trt_int8.ranges.compare:MERGES"),
        ("CONSTRAINTS", "trt_int8.engine.implicit.network:_FLAGS"),
    ],
)
def test_every_word_has_an_entry_and_every_entry_a_word(words, table):
    module, _, name = table.partition(":")
    __import__(module)
    assert tuple(getattr(sys.modules[module], name)) == getattr(choices, words)


def test_the_module_is_light():
    code = "import sys, trt_int8.choices; sys.exit(any(m in sys.modules for m in ('numpy', 'onnx', 'click')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

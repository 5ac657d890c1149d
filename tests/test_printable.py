import json
import shlex

import pytest
import yaml

from trt_int8.documents import to_yaml
from trt_int8.patterns import matching
from trt_int8.printable import aligned, json_text, printable, shell_word

#: One of each kind: C0, DEL, C1, soft hyphen, bidi controls, zero width, BOM, half of a pair, a tag.
UNSAFE = "\x00\a\b\t\n\r\x1b\x7f\x85\x9b\xad\u061c\u200b\u200f\u2028\u202a\u202e\u2066\u2069\u3164\ufe0f\ufeff\ud800\U000e0041"


def test_every_unsafe_character_becomes_its_escape():
    assert printable(f"a{UNSAFE}b") == "a" + UNSAFE.encode("unicode_escape").decode() + "b"
    assert printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"


@pytest.mark.parametrize("text", ["conv1/weight:0", "blk[0] × μ – ±", "層/畳み込み", "é\u00a0🙂", "a\\nb"])
def test_other_text_stays(text):
    assert printable(text) == text


def test_json_and_yaml_keep_the_true_names():
    document = {f"a{UNSAFE}b": ["é", UNSAFE]}
    for text in (json_text(document, indent=1), to_yaml(document, purpose="a test")):
        assert printable(text, keep="\n") == text
    assert json.loads(json_text(document)) == document
    assert json_text({"é": 1}) == '{"é": 1}'
    document = {UNSAFE.replace("\ud800", ""): "é"}  # PyYAML cannot read halves of pairs again
    assert yaml.safe_load(to_yaml(document, purpose="a test")) == document
    assert to_yaml({"é": 1}, purpose="a test") == "é: 1\n"


@pytest.mark.parametrize("name", ["x'; touch pwned; '", '$(touch pwned) "`id`"', "-rf *", "", "plain/name:0"])
def test_a_shell_word_is_the_name(name):
    assert shlex.split(shell_word(name)) == [name]


def test_a_shell_word_matches_a_name_that_cannot_be_printed():
    name = "conv\x1b[31m\n'1"
    (word,) = shlex.split(shell_word(name))
    assert word == "conv?[31m?'1"
    assert matching(word, ["other", name]) == [name]


def test_columns_are_as_wide_as_they_are_printed():
    assert aligned([["n", "x"], ["a\x1b\n", "1"]]) == "n        x\na\\x1b\\n  1\n"

"""The one language of names and globs."""

import pytest

from trt_int8.patterns import matching, nearest

NAMES = ["data", "conv1", "relu1", "head/conv2", "head/relu2", "(Unnamed Layer* 4) [Fully Connected]_output"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("conv1", ["conv1"]),
        ("conv?", ["conv1"]),
        ("*relu*", ["relu1", "head/relu2"]),
        ("head/*", ["head/conv2", "head/relu2"]),
        ("(Unnamed Layer* 4) [Fully Connected]_output", ["(Unnamed Layer* 4) [Fully Connected]_output"]),
        ("*[Fully*", ["(Unnamed Layer* 4) [Fully Connected]_output"]),
        ("[cd]onv1", []),
        ("conv", []),
        ("CONV1", []),
    ],
)
def test_matching(pattern, found):
    assert matching(pattern, NAMES) == found


def test_a_name_that_looks_like_a_glob_stands_for_itself():
    names = ["a*", "ab", "ac"]
    assert matching("a*", names) == ["a*"]
    assert matching("a*", names[1:]) == ["ab", "ac"]


def test_exact_takes_every_pattern_for_a_name():
    assert matching("conv?", NAMES, exact=True) == []
    assert matching("conv1", NAMES, exact=True) == ["conv1"]


def test_nearest_names():
    assert nearest("head/Relu*", NAMES) == "nearest names: head/relu2, relu1, head/conv2"
    assert nearest("@@@", NAMES) == "the first of 6 names: data, conv1, relu1"
    assert nearest("@@@", ["a", "a", "b"]) == "the first of 2 names: a, b"
    assert nearest("x", []) == "there are no names"

import json
import re
import struct
from pathlib import Path

import pytest

from trt_int8.engine.implicit.dynamic_ranges import RangeRule, read_rules, resolve
from trt_int8.errors import RangeError
from trt_int8.ranges import CalibrationCache

NAMES = ["data", "conv1", "relu1", "head/conv2", "head/relu2", "(Unnamed Layer* 4) [Fully Connected]_output"]


def bounds(rules, names=NAMES):
    return {name: rule.bounds for name, rule in resolve(rules, names).rules.items()}


def test_the_later_rule_wins_whatever_is_more_specific():
    rules = read_rules({"head/conv2": 1.0, "head/*": [-2, 4], "data": 0.5})
    assert bounds(rules) == {"data": (-0.5, 0.5), "head/conv2": (-2, 4), "head/relu2": (-2, 4)}


def test_unset_takes_an_earlier_range_away():
    resolution = resolve(read_rules({"*": 6, "head/*": "unset"}), NAMES)
    assert set(resolution.ranges) == {"data", "conv1", "relu1", NAMES[-1]}
    assert resolution.missing(NAMES) == ["head/conv2", "head/relu2"]
    assert resolution.lines() == ["*: 6 (6 tensors, 2 of them overridden later)", "head/*: unset (2 tensors)"]


@pytest.mark.parametrize(
    ("low", "high", "unused"),
    [
        (-1, 1, 1),  # -127 … 127: -128 is never used
        (0, 6, 128),  # 0 … 127
        (-6, 0, 128),
        (-1, 6, 256 - (127 + 21 + 1)),  # -1 is code -21.17
        (2, 6, 256 - (127 - 42 + 1)),  # 2 is code 42.33
        (-0.5, 127, 128),  # half a code, rounded to even: 0
        (-1.5, 127, 126),  # -1.5 codes, rounded to even: -2
    ],
)
def test_unused_values(low, high, unused):
    assert RangeRule("x", (low, high), "here").unused_values == unused


def test_every_code_in_use_is_counted_by_brute_force():
    low, high, scale = -1.0, 6.0, 6.0 / 127
    steps = 100_000
    codes = {round((low + (high - low) * i / steps) / scale) for i in range(steps + 1)}
    assert RangeRule("x", (low, high), "here").unused_values == 256 - len(codes)


def test_a_rule_that_fits_nothing_names_the_nearest():
    with pytest.raises(
        RangeError, match=r"dynamic ranges: 'head/Relu' matches no tensor.*nearest names: head/relu2"
    ):
        resolve(read_rules({"head/Relu": 1}), NAMES)
    with pytest.raises(RangeError, match="first of 6 names: data, conv1, relu1"):
        resolve(read_rules({"@@@": 1}), NAMES)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "amax of 'x' is 0; it must be more than 0"),
        (-1.5, "amax of 'x' is -1.5"),
        (float("nan"), "'x' has the value nan; give amax"),
        (float("inf"), "'x' has the value inf"),
        (10**400, "'x' has the value 1000"),
        (1e39, "'x' has the value 1e\\+39"),
        (True, "'x' has the value True"),
        (None, "'x' has the value None"),
        ("6.0", "'x' has the value '6.0'"),
        ([1], r"'x' has the value \[1\]"),
        ([1, 2, 3], "has the value"),
        ([2, 1], r"is \[2, 1\]; min must be below max"),
        ([1, 1], "min must be below max"),
        ({"min": 0}, "has the value"),
    ],
)
def test_values_that_are_no_range(value, message):
    with pytest.raises(RangeError, match=message):
        read_rules({"x": value})


def test_yaml_with_file_and_line(tmp_path):
    path = tmp_path / "ranges.yaml"
    path.write_text('# comment\n"*relu*": [0, 6]\nconv1: 12.5\n\nrelu1: unset\n')
    rules = read_rules(path)
    assert bounds(rules) == {"conv1": (-12.5, 12.5), "relu1": None, "head/relu2": (0, 6)}
    path.write_text("conv1: 1\n\nrelu1: -3\n")
    with pytest.raises(RangeError, match=r"ranges\.yaml:3: amax of 'relu1' is -3"):
        read_rules(path)
    path.write_text("conv1: 1\nhed/conv2: 3\n")
    with pytest.raises(RangeError, match=r"ranges\.yaml:2: 'hed/conv2' matches no tensor"):
        resolve(read_rules(path), NAMES)


def test_yaml_names_that_are_numbers(tmp_path):
    path = tmp_path / "ranges.yaml"
    path.write_text("427: 1.0\n")
    with pytest.raises(RangeError, match=r"ranges\.yaml:1: 427 is not the name of a tensor; quote"):
        read_rules(path)
    path.write_text("'427': 1.0\n")
    assert read_rules(path)[0].pattern == "427"


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "conv1: [1\n", "a: b: c\n", "conv1: !!python/object:os.system 1\n"]
)
def test_a_file_that_is_no_yaml_mapping(tmp_path, text):
    path = tmp_path / "ranges.yml"
    path.write_text(text)
    with pytest.raises(RangeError, match=r"ranges\.yml:\d"):
        read_rules(path)


def test_the_same_name_twice_the_later_one_wins(tmp_path):
    for name, text in {
        "r.yaml": "conv1: 1\n'*': 2\nconv1: 3\n",
        "r.json": '{"conv1": 1, "*": 2, "conv1": 3}',
    }.items():
        (tmp_path / name).write_text(text)
        assert bounds(read_rules(tmp_path / name), ["conv1", "x"]) == {"conv1": (-3, 3), "x": (-2, 2)}


def test_json(tmp_path):
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({"conv1": [-1, 6], "head/*": "unset"}))
    assert bounds(read_rules(path)) == {"conv1": (-1, 6), "head/conv2": None, "head/relu2": None}
    path.write_text('{"conv1": 1,\n}')
    with pytest.raises(RangeError, match=r"ranges\.json:2: not JSON"):
        read_rules(path)
    path.write_text("[1, 2]")
    with pytest.raises(RangeError, match="must hold an object"):
        read_rules(path)
    with pytest.raises(RangeError, match="no such file"):
        read_rules(tmp_path / "missing.json")


def test_a_cache_file_gives_ranges_of_127_scales_and_may_name_strangers(tmp_path):
    path = tmp_path / "x.cache"
    scale = struct.unpack(">f", bytes.fromhex("3c008912"))[0]
    path.write_text(
        "TRT-8601-EntropyCalibration2\nconv1: 3c008912\nconv*: 3c008912\nrelu1: 0\nstranger: 3c008912\n"
    )
    resolution = resolve(read_rules(path), NAMES)
    assert list(resolution.ranges) == ["conv1"]
    assert resolution.ranges["conv1"] == pytest.approx((-127 * scale, 127 * scale), rel=1e-7)
    assert resolution.rules["relu1"].bounds is None  # a scale of 0 is none that TensorRT takes
    assert resolution.lines() == [f"{path}: 2 of its 4 tensors are in the network"]


def test_a_cache_of_another_model_is_an_error(tmp_path):
    path = tmp_path / "x.cache"
    path.write_text("TRT-8601-EntropyCalibration2\nstranger: 3c008912\nother: 3c008912\n")
    with pytest.raises(RangeError, match=r"x\.cache: none of its 2 tensor names is in the network"):
        resolve(read_rules(path), NAMES)


def test_a_rule_after_a_cache_overrides_it():
    cache = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nconv1: 3c008912\nrelu1: 3c008912\n")
    rules = [*read_rules(cache.ranges()), *read_rules({"relu*": [0, 3]})]
    found = bounds(rules)
    assert found["relu1"] == (0, 3)
    assert found["conv1"][1] == pytest.approx(0.9963, abs=1e-4)


def test_the_file_in_the_docs(tmp_path):
    docs = Path(__file__).parents[3] / "docs" / "implicit.md"
    path = tmp_path / "ranges.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", docs.read_text(), re.DOTALL)[1])
    names = ["a/relu1", "head/logits", "block3/relu", "conv"]
    assert bounds(read_rules(path), names) == {
        "a/relu1": (0, 6),
        "head/logits": (-12.5, 12.5),
        "block3/relu": None,
    }

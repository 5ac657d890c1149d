"""Properties of all formats of ranges: what is written is read, and any bytes are read or refused."""

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trt_int8.choices import RANGE_FORMS
from trt_int8.errors import CacheError
from trt_int8.ranges import CalibrationCache, Ranges, TensorRange
from trt_int8.ranges.files import RangeFile

#: The folder of a test is used for all its examples.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["a: b", " a ", "106", "null", "{", "{a", "TRT-1-a", "CLS", "x y", "a\u2028b", "\ufeff", "é", "#", "a\x1eb", "'", "-"]
)  # fmt: skip
AMAX = st.floats(0, 3e38) | st.just(math.inf) | st.sampled_from([1e-45, 1e300, 5e-324])
TABLES = st.dictionaries(NAMES, AMAX, min_size=1, max_size=4)


def refusal(do):
    """Return the message of the CacheError that ``do`` raises; empty if it raises none."""
    try:
        do()
    except CacheError as error:
        return str(error)
    return ""


def ranges(amax):
    return Ranges({name: TensorRange(value, source="a test") for name, value in amax.items()})


@pytest.mark.parametrize("form", RANGE_FORMS)
@SHARED
@given(amax=TABLES)
@example(amax={"106": 1.0, "data": 2.5})
def test_what_is_written_is_read(tmp_path, form, amax):
    path = tmp_path / "file"
    if refused := refusal(lambda: RangeFile(ranges(amax), form).write(path, form=form)):
        assert "which JSON cannot have" in refused or "name" in refused
        return
    found = RangeFile.read(path)
    read = {name: entry.amax for name, entry in found.ranges.items()}
    if form == "ort-tensors":
        with np.errstate(over="ignore"):
            amax = {name: float(np.float32(value)) for name, value in amax.items()}
    if form == "tensorrt":
        amax = {name: float(entry.scale) * 127 for name, entry in ranges(amax).items()}
    assert read == amax
    assert form == found.form or (form, found.form) in [("json", "ort-json")]


@pytest.mark.parametrize("form", RANGE_FORMS)
def test_usual_names_can_be_written_in_every_form(tmp_path, form):
    usual = {"data": 1.0, "conv1/relu:0": 2.0, "a b": 3.0, "(Unnamed Layer* 4) [Fully Connected]_output": 4.0}
    RangeFile(ranges(usual), form).write(tmp_path / "f", form=form)
    assert {n: r.amax for n, r in RangeFile.read(tmp_path / "f").ranges.items()} == pytest.approx(usual)


CHANGE = st.tuples(st.integers(0, 400), st.integers(0, 9), st.binary(max_size=5))


@pytest.mark.parametrize("form", RANGE_FORMS)
@SHARED
@given(change=CHANGE)
def test_damaged_files_are_read_or_refused(tmp_path, form, change):
    path = tmp_path / "file"
    RangeFile(ranges({"data": 2.5, "conv1: x": 0.0, "é": 1e-9}), form).write(path, form=form)
    data, (start, length, new) = path.read_bytes(), change
    start %= len(data)
    path.write_bytes(data[:start] + new + data[start + length :])
    assert "\n" not in refusal(lambda: (RangeFile.read(path), CalibrationCache.read(path)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["CLS", "inf", "1", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["CLS", "data", "lowest", "highest", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@SHARED
@given(document=st.dictionaries(st.sampled_from(["CLS", "data", "x"]), VALUES, max_size=3), suffix=st.sampled_from(["", ".yaml"]))  # fmt: skip
@example(document={"CLS": "TensorsData", "data": {"x": {"CLS": "numpy.array", "data": [[[1]]]}}}, suffix="")
def test_any_json_is_read_or_refused(tmp_path, document, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_text(json.dumps(document))
    assert "\n" not in refusal(lambda: RangeFile.read(path))


@SHARED
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(tmp_path, data):
    for name in ("file", "file.yaml"):
        (tmp_path / name).write_bytes(data)
        assert "\n" not in refusal(partial(RangeFile.read, tmp_path / name))

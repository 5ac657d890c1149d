"""A state file of sensitivity is read back as it was written, and any other bytes are refused."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from trt_int8.calibration import calibrate
from trt_int8.errors import DataError
from trt_int8.evaluation.sensitivity import Evaluator, Measurements, Score

#: The folder of a test is used for all its examples.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCORES = st.dictionaries(TEXT, st.builds(Score, st.floats(allow_nan=False), st.floats(allow_nan=False)))


@pytest.fixture
def measurements(make_model, rng, tmp_path):
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        inputs={"x": ["n", 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 4)).astype(np.float32)},
    )
    batches = [{"x": rng.normal(size=(3, 4)).astype(np.float32)}]
    ranges = calibrate(model, batches, algorithm="minmax").ranges
    return Measurements(model, ranges, Evaluator(model, batches), state=tmp_path / "s.json")


@SHARED
@given(scores=SCORES)
def test_what_is_written_is_read(measurements, scores):
    measurements._scores = scores
    measurements._write()
    assert measurements._read() == scores


@SHARED
@given(start=st.integers(0, 200), length=st.integers(0, 9), new=st.binary(max_size=5))
def test_damaged_files_are_read_or_refused(measurements, tmp_path, start, length, new):
    measurements._scores = {"": Score(20.5, 0.25), "product": Score(float("inf"), float("nan"))}
    measurements._write()
    path = tmp_path / "s.json"
    data = path.read_bytes()
    path.write_bytes(data[:start] + new + data[start + length :])
    with contextlib.suppress(DataError):
        measurements._read()

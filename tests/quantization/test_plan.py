"""A plan is read back as it was written, and other bytes are refused. See also test_selection.py."""

import contextlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trt_int8.errors import QuantizationError
from trt_int8.quantization.plan import PrecisionPlan

#: The folder of a test is used for all its examples.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FIGURES = st.dictionaries(st.sampled_from(["min_sqnr", "max_drop", "sqnr_db"]), st.floats(allow_nan=False))
NODES = st.dictionaries(TEXT, st.sampled_from(["int8", "float"]), min_size=1, max_size=4)
PLANS = st.builds(
    PrecisionPlan,
    nodes=NODES,
    target=st.none() | TEXT.filter(bool),
    placement=st.none() | TEXT.filter(bool),
    budget=FIGURES,
    reached=FIGURES,
)


@SHARED
@given(plan=PLANS)
@example(
    plan=PrecisionPlan({"106": "int8", "yes": "float", "a\u2028b\x85": "int8", "null": "float", "": "int8"})
)
def test_what_is_written_is_read(tmp_path, plan):
    path = tmp_path / "plan.yaml"
    plan.write(path)
    found = PrecisionPlan.read(path)
    assert (dict(found.nodes), found.target, found.placement) == (
        dict(plan.nodes),
        plan.target,
        plan.placement,
    )
    assert (dict(found.budget), dict(found.reached)) == (dict(plan.budget), dict(plan.reached))


@SHARED
@given(start=st.integers(0, 200), length=st.integers(0, 9), new=st.binary(max_size=5))
def test_damaged_plans_are_read_or_refused(tmp_path, start, length, new):
    path = tmp_path / "plan.yaml"
    PrecisionPlan({"a": "int8", "é: b": "float"}, target="rtx:sm89", budget={"min_sqnr": 22.0}).write(path)
    data = path.read_bytes()
    path.write_bytes(data[:start] + new + data[start + length :])
    with contextlib.suppress(QuantizationError):
        PrecisionPlan.read(path)


@SHARED
@given(data=st.binary(max_size=60) | st.binary(max_size=20).map(b"schema: 1\nnodes: ".__add__))
def test_any_bytes_are_a_plan_or_refused(tmp_path, data):
    (tmp_path / "plan.yaml").write_bytes(data)
    with contextlib.suppress(QuantizationError):
        PrecisionPlan.read(tmp_path / "plan.yaml")


@pytest.mark.parametrize("key", ["schema", "nodes", "target", "placement", "budget", "reached"])
@pytest.mark.parametrize("value", ["[1]", "{a: {b: c}}", "x", "", "~", "{a: nan}", "{a: [1]}", "{a: 1_0}"])
def test_a_key_with_another_value(tmp_path, key, value):
    entries = {"schema": "1", "nodes": "{a: int8}"} | {key: value}
    (tmp_path / "plan.yaml").write_text("".join(f"{name}: {text}\n" for name, text in entries.items()))
    with contextlib.suppress(QuantizationError):
        PrecisionPlan.read(tmp_path / "plan.yaml").require_placement("rtx")

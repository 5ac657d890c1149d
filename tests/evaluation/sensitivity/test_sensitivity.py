import json
import math

import numpy as np
import onnx
import pytest
from onnx import helper

from trt_int8 import progress
from trt_int8.calibration import calibrate
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.sensitivity import (
    Budget,
    Evaluator,
    Measurements,
    NodeSensitivity,
    Score,
    rank,
    search,
)
from trt_int8.progress import Display
from trt_int8.quantization import Selection, quantize


@pytest.fixture
def fragile(make_model, rng):
    """Three matrix products; ``bad`` reads a tensor with two huge values, so that INT8 loses the rest."""
    eye = np.eye(20, dtype=np.float32)
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "a"], ["one"], "good"),
            helper.make_node("Mul", ["one", "spread"], ["two"], "spreads"),
            helper.make_node("MatMul", ["two", "eye"], ["three"], "bad"),
            helper.make_node("Div", ["three", "spread"], ["four"], "gathers"),
            helper.make_node("MatMul", ["four", "b"], ["y"], "fair"),
        ],
        inputs={"x": ["n", 20]},
        outputs=["y"],
        weights={
            "a": rng.normal(size=(20, 20)).astype(np.float32),
            "b": rng.normal(size=(20, 20)).astype(np.float32),
            "eye": eye,
            "spread": np.geomspace(1, 300, 20).astype(np.float32),
        },
    )
    batches = [{"x": rng.normal(size=(30, 20)).astype(np.float32)} for _ in range(6)]
    return model, batches, calibrate(model, batches, algorithm="minmax").ranges


def test_the_fragile_node_comes_first(fragile):
    model, batches, ranges = fragile
    measurements = Measurements(model, ranges, Evaluator(model, batches), placement="tensorrt")
    ranking = rank(measurements)
    assert ranking[0].node == "bad"
    assert measurements.evaluations == 7
    worst = ranking[0]
    assert worst.gain_db > 10
    assert all(entry.gain_db < 3 for entry in ranking[1:])
    # the figures are what evaluation measures
    only = quantize(model, ranges, selection=Selection(nodes=("bad",)), placement="tensorrt").model
    assert worst.alone.sqnr_db == pytest.approx(evaluate(model, only, batches).sqnr_db)
    rest = quantize(model, ranges, selection=Selection(exclude=("bad",)), placement="tensorrt").model
    assert worst.without.sqnr_db == pytest.approx(evaluate(model, rest, batches).sqnr_db)
    assert worst.alone.drop != worst.alone.drop  # no figure
    assert worst.to_dict()["alone"]["drop"] is None


def test_the_search_keeps_what_can_be_kept(fragile):
    model, batches, ranges = fragile
    measurements = Measurements(model, ranges, Evaluator(model, batches), placement="tensorrt")
    ranking = rank(measurements)
    assert search(measurements, ranking, Budget(min_sqnr_db=-10)).floats == ()
    assert search(measurements, ranking, Budget(min_sqnr_db=30)).floats == ("bad",)
    everything = search(measurements, ranking, Budget(min_sqnr_db=500))
    assert (everything.floats, everything.score.sqnr_db) == (("good", "bad", "fair"), math.inf)


class Table:
    """Measurements by a rule instead of a model."""

    kept = ""

    def __init__(self, cost):
        self.nodes = dict.fromkeys(cost, "Conv")
        self.cost, self.asked = cost, []

    def score(self, floats, *, phase=None):
        self.asked.append(tuple(floats))
        return Score(0.0, sum(c for n, c in self.cost.items() if n not in floats))

    def lost(self):
        return ""


def test_greedy_takes_back_what_was_in_vain():
    """Ranked wrongly on purpose: the first two were not to blame."""
    table = Table({"a": 0.1, "b": 0.1, "c": 5.0, "d": 0.1})
    entries = [NodeSensitivity(n, "Conv", Score(0), Score(0), 0) for n in ("a", "b", "c", "d")]
    found = search(table, entries, Budget(max_drop=0.35))
    assert found.floats == ("c",)
    assert found.score.drop == pytest.approx(0.3)
    assert len(table.asked) <= 1 + 2 * 4


def test_an_interrupted_run_goes_on(fragile, tmp_path):
    model, batches, ranges = fragile
    state = tmp_path / "state.json"

    class Stopping(Evaluator):
        left = 3

        def __call__(self, quantized):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().__call__(quantized)

    stopped = Measurements(model, ranges, Stopping(model, batches), state=state, placement="tensorrt")
    with progress.show(Display()) as display, pytest.raises(KeyboardInterrupt):
        rank(stopped)
    assert display.interrupted.lost().startswith(
        f"The measurements are kept in {state}: run the same command"
    )
    assert (
        "with state=FILE"
        in Measurements(model, ranges, Evaluator(model, batches), placement="tensorrt").lost()
    )
    assert len(json.loads(state.read_text())["scores"]) == 3
    again = Measurements(model, ranges, Evaluator(model, batches), state=state, placement="tensorrt")
    resumed = rank(again)
    assert again.evaluations == 4
    assert [e.to_dict() for e in resumed] == [
        e.to_dict()
        for e in rank(Measurements(model, ranges, Evaluator(model, batches), placement="tensorrt"))
    ]
    third = Measurements(model, ranges, Evaluator(model, batches), state=state, placement="tensorrt")
    rank(third)
    assert third.evaluations == 0


def test_a_state_file_of_something_else(fragile, tmp_path):
    model, batches, ranges = fragile
    state = tmp_path / "state.json"
    Measurements(model, ranges, Evaluator(model, batches), state=state, placement="tensorrt").score([])
    before = state.read_bytes()
    with pytest.raises(DataError, match="belongs to another model, calibration, data or placement"):
        Measurements(model, ranges, Evaluator(model, batches[:3]), state=state, placement="tensorrt")
    other = calibrate(model, batches[:2], algorithm="mse").ranges
    with pytest.raises(DataError, match="belongs to another"):
        Measurements(model, other, Evaluator(model, batches), state=state, placement="tensorrt")
    assert state.read_bytes() == before
    for content in ("{", "[]", "{}", '{"format": "x"}'):
        state.write_text(content)
        with pytest.raises(DataError, match=r"state\.json: not a state file"):
            Measurements(model, ranges, Evaluator(model, batches), state=state, placement="tensorrt")


def test_a_drop_counts_on_both_halves(make_model):
    """The second model errs on odd batches only; half the drop on average, all of it on one half."""
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], inputs={"x": ["n", 2]}, outputs=["y"])
    worse = make_model(
        [helper.make_node("Mul", ["x", "f"], ["y"])],
        inputs={"x": ["n", 2]},
        outputs=["y"],
        weights={"f": np.array([1, 10], np.float32)},
    )
    batches = [{"x": np.array([x, x], np.float32)} for x in ([5, 0.1], [5, 1], [5, 0.1], [5, 1])]
    evaluator = Evaluator(model, batches, labels=np.zeros(8, int))
    assert evaluator(worse).drop == 1
    assert evaluator(model).drop == 0
    with_metric = Evaluator(model, batches, metric=lambda outputs, labels: -float(outputs["y"].max()))
    assert with_metric(worse).drop == pytest.approx(5)
    beside = Evaluator(
        model, batches, metric=lambda outputs, _, wanted: float((outputs["y"] == wanted["y"]).mean())
    )
    assert (beside(model).drop, beside(worse).drop) == (0, 0.5)
    with pytest.raises(DataError, match="7 labels but 8 samples"):
        Evaluator(model, batches, labels=np.zeros(7, int))
    with pytest.raises(ModelError, match="the model has no output 'z'; its outputs are y"):
        Evaluator(model, batches, output="z")


def test_lenet_within_budget_on_unseen_data(lenet_path, digits):
    """≥ 80 % of the compute nodes stay in INT8, and top-1 on other digits falls by no more than the budget."""
    model = onnx.load(lenet_path)
    images, labels = digits["evaluation"], digits["labels"]
    ranges = calibrate(model, [{"data": i[None]} for i in digits["calibration"][:50]]).ranges
    seen, unseen = slice(0, 200), slice(200, 400)
    batches = [{"data": image[None]} for image in images[seen]]
    measurements = Measurements(
        model, ranges, Evaluator(model, batches, labels=labels[seen]), placement="tensorrt"
    )
    found = search(measurements, rank(measurements), Budget(max_drop=0.01))
    assert len(found.floats) <= 0.2 * len(measurements.nodes)
    quantized = measurements.quantized(found.floats).model
    result = evaluate(model, quantized, [{"data": i[None]} for i in images[unseen]], labels=labels[unseen])
    assert result.drop <= 0.01

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.accuracy import Accuracy, AccuracyCheck, Decision, evaluated_tensors
from trt_int8.evaluation.comparer import Comparer
from trt_int8.graph.model import Model


def scaled(make_model, factor, outputs=("y",)):
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"]), helper.make_node("Softmax", ["y"], ["p"])]
    return make_model(
        nodes, inputs={"x": ["n", 4]}, outputs=list(outputs), weights={"factor": np.array(factor, np.float32)}
    )


def test_the_figure_is_that_of_evaluate_and_choices_count_each_batch_alike(make_model):
    """The last channel is wrong, and one batch of ten is nothing else, a thousand times as large."""
    model, wrong = scaled(make_model, [1, 1, 1, 1]), scaled(make_model, [1, 1, 1, 2])
    batches = [{"x": np.float32([[3, 0, 0, 1]])} for _ in range(9)] + [{"x": np.float32([[0, 0, 0, 1000]])}]
    found = AccuracyCheck(model, batches)(wrong)
    assert found.outputs == {"y": evaluate(model, wrong, batches).sqnr_db}
    assert found.outputs["y"] == pytest.approx(0, abs=0.1)
    assert found.evaluated == {"y": pytest.approx(0.9 * 10)}
    exact = AccuracyCheck(model, batches)(model)
    assert (exact.outputs, exact.evaluated) == ({"y": np.inf}, {"y": 150})


def test_softmax_is_evaluated_by_its_input(make_model):
    model, wrong = (scaled(make_model, [1, 1, 1, f], outputs=["p"]) for f in (1, 1.1))
    assert evaluated_tensors(Model.of(model), ["p"]) == ("y",)
    # one-sided by 40: p is 1 and 0 with or without the error
    found = AccuracyCheck(model, [{"x": np.float32([[40, 0, 0, 1]])}])(wrong)
    assert found.outputs["p"] > 100
    assert found.evaluated["y"] == pytest.approx(10 * np.log10(1601 / 0.01), abs=0.1)


def test_through_a_reshape_and_not_within_the_network(make_model):
    model = make_model(
        [
            helper.make_node("Softmax", ["x"], ["s"]),
            helper.make_node("Relu", ["s"], ["r"]),
            helper.make_node("Sigmoid", ["r"], ["g"]),
            helper.make_node("Reshape", ["g", "shape"], ["flat"]),
        ],
        inputs={"x": [1, 4]},
        outputs=["r", "flat"],
        weights={"shape": np.array([2, 2])},
    )
    assert evaluated_tensors(Model.of(model), ["r", "flat"]) == ("r",)


def test_mistakes(make_model):
    model = scaled(make_model, [1, 1, 1, 1])
    with pytest.raises(DataError, match="holds no batches"):
        Comparer(model, [])
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    whole = make_model(nodes, inputs={"x": [1]}, outputs=["y"], dtype=TensorProto.INT64)
    with pytest.raises(ModelError, match="no float output"):
        AccuracyCheck(whole, [{"x": np.zeros(1, np.int64)}])


def test_inner_tensors_are_compared_pooled(make_model, rng):
    model, wrong = (scaled(make_model, [1, 1, 1, f], outputs=["p"]) for f in (1, 1.5))
    batches = [{"x": rng.normal(size=(3, 4)).astype(np.float32)} for _ in range(4)]
    found = Comparer(model, batches, tensors=["y"])(wrong)
    x = np.concatenate([batch["x"] for batch in batches]).astype(np.float64)
    expected = 10 * np.log10((x**2).sum() / (0.25 * x[:, 3] ** 2).sum())
    assert found.pooled("y").sqnr_db == pytest.approx(expected, abs=1e-6)
    assert found.pooled("y").max_abs == pytest.approx(0.5 * np.abs(x[:, 3]).max(), rel=1e-6)
    assert len(found.by_batch["y"]) == 4


def start(**evaluated):
    return Decision.start(Accuracy({}, evaluated))


def with_sqnr(**evaluated):
    return Accuracy({}, evaluated)


def test_a_gain_at_one_output_is_enough():
    decision = start(a=30.0, b=10.0).decide(with_sqnr(a=31.0, b=9.95))
    assert decision.kept
    assert decision.text == "a +1.00 dB, b -0.05 dB"


def test_no_output_may_lose():
    decision = start(a=30.0, b=10.0).decide(with_sqnr(a=40.0, b=9.89))
    assert not decision.kept
    assert decision.text == "a +10.00 dB, b -0.11 dB, so it was not kept"


def test_a_trifle_is_no_gain():
    assert not start(a=30.0, b=10.0).decide(with_sqnr(a=30.09, b=10.0)).kept


def test_small_losses_do_not_add_up():
    first = start(a=30.0, b=10.0).decide(with_sqnr(a=31.0, b=9.94))
    second = first.decide(with_sqnr(a=32.0, b=9.88))
    assert (first.kept, second.kept) == (True, False)
    assert first.decide(with_sqnr(a=32.0, b=9.94)).kept


def test_nan_decides_nothing_and_counts_as_a_loss():
    assert start(a=np.nan, b=30.0).decide(with_sqnr(a=np.nan, b=31.0)).text == "b +1.00 dB"
    lost = start(a=20.0, b=30.0).decide(with_sqnr(a=np.nan, b=31.0))
    assert (lost.kept, lost.text) == (False, "b +1.00 dB, a unbounded relative error, so it was not kept")
    alone = start(a=np.nan).decide(with_sqnr(a=np.nan))
    assert (alone.kept, alone.text) == (False, "SQNR is not defined, so it was not kept")

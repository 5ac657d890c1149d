import math

import numpy as np
import pytest
from onnx import helper

from trt_int8.batches import ArraySamples, batched
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.metrics import Difference


def scaled(make_model, factor, output="y"):
    return make_model(
        [helper.make_node("Mul", ["x", "f"], [output])],
        inputs={"x": ["n", 4]},
        outputs=[output],
        weights={"f": np.array(factor, np.float32)},
    )


def test_figures_of_a_known_error(make_model, rng):
    x = rng.normal(size=(10, 4)).astype(np.float32)
    batches = list(batched(ArraySamples({"x": x}), 3))
    result = evaluate(scaled(make_model, 1), scaled(make_model, 1.1), batches)
    assert result.samples == 10
    assert result.outputs["y"].sqnr_db == pytest.approx(20, abs=1e-4)  # error is a tenth everywhere
    assert result.outputs["y"].cosine == pytest.approx(1)
    assert result.outputs["y"].max_abs_error == pytest.approx(np.abs(x).max() / 10, rel=1e-5)
    assert result.top1 is None


def test_equal_models(make_model):
    result = evaluate(scaled(make_model, 2), scaled(make_model, 2), [{"x": np.ones((1, 4), np.float32)}])
    assert result.outputs["y"].sqnr_db == math.inf
    assert result.to_dict()["outputs"]["y"]["sqnr_db"] is None


def test_infinite_outputs():
    """A mask of -inf that both models have is no error; one that only one has is an infinite one."""
    masked = Difference()
    masked.add(np.array([3.0, -np.inf]), np.array([2.7, -np.inf]))
    assert masked.sqnr_db == pytest.approx(20)
    assert masked.cosine == pytest.approx(1)
    broken = Difference()
    broken.add(np.array([3.0, 1.0]), np.array([2.7, np.inf]))
    assert (broken.sqnr_db, broken.max_abs) == (-math.inf, math.inf)


def test_top1_counts_right_answers(make_model):
    x = np.array([[0, 9, 0, 1], [5, 0, 0, 1], [0, 0, 3, 1], [1, 2, 3, 9]], np.float32)
    # the second model prefers the last class by far
    result = evaluate(
        scaled(make_model, 1),
        scaled(make_model, [1, 1, 1, 4.5]),
        batched(ArraySamples({"x": x}), 3),
        labels=[1, 0, 3, 3],
    )
    assert result.top1.reference == 0.75
    assert result.top1.quantized == 1.0
    assert result.top1.agreement == 0.75


def test_mistakes(make_model):
    batch = [{"x": np.ones((3, 4), np.float32)}]
    with pytest.raises(ModelError, match=r"share no output \(first: y; second: z\)"):
        evaluate(scaled(make_model, 1), scaled(make_model, 1, "z"), batch)
    with pytest.raises(DataError, match="2 labels but 3 samples"):
        evaluate(scaled(make_model, 1), scaled(make_model, 1), batch, labels=[0, 1])
    for labels, message in {
        "one-hot": (np.eye(4, dtype=int)[:3], r"labels have shape \[3, 4\]; give one class index per sample"),
        "floats": ([0.0, 1.0, 2.0], "labels are float64"),
        "too many": ([0, 1, 2, 3], "4 labels but 3 samples"),
        "no such class": ([0, 1, 4], "labels are between 0 and 4, but the model has classes 0 to 3"),
        "negative": ([0, -1, 2], "labels are between -1 and 2"),
    }.values():
        with pytest.raises(DataError, match=message):
            evaluate(scaled(make_model, 1), scaled(make_model, 1), batch, labels=labels)
    with pytest.raises(ModelError, match="batch 0: output 'y' of the second model has NaN"):
        evaluate(scaled(make_model, 1), scaled(make_model, np.nan), batch)
    with pytest.raises(ModelError, match="output 'logits' is not in both models; choose one of y"):
        evaluate(scaled(make_model, 1), scaled(make_model, 1), batch, output="logits")


def test_scores_come_from_the_output_named(make_model):
    model = make_model(
        [helper.make_node("Identity", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])],
        inputs={"x": ["n", 3]},
        outputs=["a", "b"],
    )
    batch = [{"x": np.array([[1, 2, 3], [3, 2, 1]], np.float32)}]
    assert evaluate(model, model, batch, labels=[2, 0]).top1.reference == 1
    assert evaluate(model, model, batch, labels=[0, 2], output="b").top1.reference == 1
    assert evaluate(model, model, batch, labels=[[2], [0]]).top1.reference == 1


def test_a_scalar_output_holds_no_scores(make_model):
    model = make_model(
        [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)], inputs={"x": [1, 3]}, outputs=["y"]
    )
    with pytest.raises(ModelError, match=r"output 'y' has shape \[\], not \[samples, classes\]"):
        evaluate(model, model, [{"x": np.ones((1, 3), np.float32)}], labels=[0])


def test_optimizations_are_off(make_model, monkeypatch):
    from trt_int8.evaluation import evaluation

    asked = []

    class Recording(evaluation.Session):
        def __init__(self, model, **kwargs):
            asked.append(kwargs)
            super().__init__(model, **kwargs)

    monkeypatch.setattr(evaluation, "Session", Recording)
    evaluate(scaled(make_model, 2), scaled(make_model, 2), [{"x": np.ones((1, 4), np.float32)}])
    assert asked == [{"optimize": False}] * 2


def test_zero_signal():
    difference = Difference()
    difference.add(np.zeros(3), np.zeros(3))
    assert (difference.sqnr_db, difference.cosine) == (math.inf, 1.0)
    difference.add(np.zeros(3), np.ones(3))
    assert (difference.sqnr_db, difference.cosine) == (-math.inf, 0.0)

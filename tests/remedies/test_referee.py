import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation import evaluate
from trt_int8.remedies.referee import Referee, judged_tensors


def scaled(make_model, factor, outputs=("y",)):
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"]), helper.make_node("Softmax", ["y"], ["p"])]
    return make_model(
        nodes, inputs={"x": ["n", 4]}, outputs=list(outputs), weights={"factor": np.array(factor, np.float32)}
    )


def test_each_batch_counts_alike(make_model, rng):
    """The last channel is wrong, and one batch of ten is nothing else, a thousand times as large."""
    model, wrong = scaled(make_model, [1, 1, 1, 1]), scaled(make_model, [1, 1, 1, 2])
    batches = [{"x": np.float32([[3, 0, 0, 1]])} for _ in range(9)] + [{"x": np.float32([[0, 0, 0, 1000]])}]
    assert evaluate(model, wrong, batches).sqnr_db == pytest.approx(0, abs=0.1)
    assert Referee(model, batches)(wrong) == {"y": pytest.approx(0.9 * 10)}
    assert Referee(model, batches)(model) == {"y": 150}


def test_softmax_is_judged_by_what_it_reads(make_model, rng):
    model, wrong = (scaled(make_model, [1, 1, 1, f], outputs=["p"]) for f in (1, 1.1))
    assert judged_tensors(model) == ("y",)
    # one-sided by 40: p is 1 and 0 with or without the error
    batches = [{"x": np.float32([[40, 0, 0, 1]])}]
    assert evaluate(model, wrong, batches).sqnr_db > 100
    assert Referee(model, batches)(wrong)["y"] == pytest.approx(10 * np.log10(1601 / 0.01), abs=0.1)


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
    assert judged_tensors(model) == ("r",)


def test_mistakes(make_model):
    model = scaled(make_model, [1, 1, 1, 1])
    with pytest.raises(DataError, match="holds no batches"):
        Referee(model, [])
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    whole = make_model(nodes, inputs={"x": [1]}, outputs=["y"], dtype=TensorProto.INT64)
    with pytest.raises(ModelError, match="no float output"):
        Referee(whole, [{"x": np.zeros(1, np.int64)}])

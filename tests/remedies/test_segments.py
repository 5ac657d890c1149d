"""A model run piece by piece computes what it computes in one go, and keeps nothing it needs no more."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_int8.errors import ModelError
from trt_int8.remedies.segments import run_in_segments
from trt_int8.runtime import Session


@pytest.fixture
def model(make_model, rng):
    body = helper.make_graph(
        [helper.make_node("Mul", ["a", "k"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    return make_model(
        [
            helper.make_node("Constant", [], ["k"], value_float=2.0),
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("If", ["yes"], ["c"], then_branch=body, else_branch=body),
            helper.make_node("MatMul", ["c", "w"], ["d"]),
            helper.make_node("Add", ["d", "x"], ["e"]),
            helper.make_node("Neg", ["e"], ["y"]),
        ],
        inputs={"x": [3, 3]},
        outputs=["y"],
        weights={"w": rng.normal(size=(3, 3)).astype(np.float32), "yes": np.array(True)},
    )


def test_pieces_compute_what_the_whole_does(model, rng):
    batches = [{"x": rng.normal(size=(3, 3)).astype(np.float32)} for _ in range(2)]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in "bde")
    names = ["b", "d", "e"]
    expected = [Session(whole, optimize=False).run(batch, names, place="here") for batch in batches]
    seen = []
    for end, state in run_in_segments(model, names, batches):
        for number, values in enumerate(state):
            np.testing.assert_array_equal(values[end], expected[number][names.index(end)])
        seen.append((end, sorted(state[0])))
    # a is read by the body of If; x until e; b by nobody.
    assert seen == [("b", ["a", "b", "x"]), ("d", ["d", "x"]), ("e", ["e"])]
    assert [list(batch) for batch in batches] == [["x"], ["x"]]


def test_what_is_replaced_is_read(model):
    batches = [{"x": np.eye(3, dtype=np.float32)}]
    found = {}
    for end, state in run_in_segments(model, ["d", "e"], batches):
        if end == "d":
            state[0]["d"] = np.zeros((3, 3), np.float32)
        found[end] = state[0][end]
    np.testing.assert_array_equal(found["e"], np.eye(3))


def test_the_batch_is_named_on_failure(model):
    wrong = [{"x": np.eye(3, dtype=np.float32)}, {"x": np.ones((2, 2), np.float32)}]
    with pytest.raises(ModelError, match="batch 1"):
        list(run_in_segments(model, ["d"], wrong))


def test_sequences_do_not_pass_from_piece_to_piece(make_model):
    model = make_model(
        [
            helper.make_node("SplitToSequence", ["x"], ["s"]),
            helper.make_node("Neg", ["x"], ["a"]),
            helper.make_node("ConcatFromSequence", ["s"], ["c"], axis=0),
            helper.make_node("Add", ["a", "c"], ["y"]),
        ],
        inputs={"x": [3, 3]},
        outputs=["y"],
    )
    with pytest.raises(ModelError, match="'s' is no tensor"):
        list(run_in_segments(model, ["a", "y"], [{"x": np.eye(3, dtype=np.float32)}]))

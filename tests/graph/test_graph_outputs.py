import numpy as np
import pytest
from onnx import helper

from trt_int8.graph.passes.subgraph import part_of, with_outputs
from trt_int8.graph.runtime import Session


@pytest.fixture
def model(make_model):
    """y = relu(x · w); s = (x + b) · 2."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Mul", ["a", "two"], ["s"]),
    ]
    weights = {
        "w": np.array([[1, -1], [0, 2]], np.float32),
        "b": np.array([5], np.float32),
        "two": np.array([2], np.float32),
    }
    return make_model(nodes, inputs={"x": [1, 2]}, outputs=["y", "s"], weights=weights)


X = np.array([[3, 1]], np.float32)


def outputs(model):
    return [output.name for output in model.graph.output]


def test_inner_tensors_come_out_behind_the_outputs(model):
    before = model.SerializeToString()
    extended = with_outputs(model, ["a", "y", "m"])
    assert outputs(extended) == ["y", "s", "a", "m"]
    assert model.SerializeToString() == before
    a, m = Session(extended).run({"x": X}, ["a", "m"], place="batch 0")
    assert a.tolist() == [[8, 6]]
    assert m.tolist() == [[3, -1]]


def test_a_part_holds_what_its_outputs_need(model):
    before = model.SerializeToString()
    part = part_of(model, ["a", "m"])
    assert outputs(part) == ["a", "m"]
    assert [node.op_type for node in part.graph.node] == ["MatMul", "Add"]
    assert {tensor.name for tensor in part.graph.initializer} == {"w", "b"}
    assert model.SerializeToString() == before
    a, m = Session(part).run({"x": X}, ["a", "m"], place="batch 0")
    assert (a.tolist(), m.tolist()) == ([[8, 6]], [[3, -1]])

import numpy as np
import pytest
from onnx import helper, numpy_helper

from trt_int8.graph import GraphIndex
from trt_int8.graph.index import reads


def constant(output, **attribute):
    return helper.make_node("Constant", [], [output], **attribute)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"value": numpy_helper.from_array(np.array([[1, 2]], np.float16))}, np.array([[1, 2]], np.float16)),
        ({"value_float": 1.5}, np.float32(1.5)),
        ({"value_floats": [1.0, 2.0]}, np.array([1, 2], np.float32)),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4])),
    ],
    ids=lambda value: str(value)[:20],
)
def test_constants_in_every_form(make_model, attribute, value):
    model = make_model(
        [constant("c", **attribute), helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": [1]},
        outputs=["y"],
    )
    found = GraphIndex(model).constant("c")
    assert found.dtype == value.dtype
    assert np.array_equal(found, value)
    assert GraphIndex(model).order == ("x", "y")


def test_strings_are_no_numbers(make_model):
    model = make_model(
        [constant("c", value_string="text"), helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": [1]},
        outputs=["y"],
    )
    assert GraphIndex(model).constant("c") is None


def test_who_makes_and_who_reads(make_model):
    model = make_model(
        [
            helper.make_node("Relu", ["x"], ["a"], name="relu"),
            helper.make_node("Add", ["a", "a"], ["y"], name="add"),
        ],
        inputs={"x": [1]},
        outputs=["y", "a"],
    )
    index = GraphIndex(model)
    assert index.producers["a"].name == "relu"
    assert [(use.node.name, use.slot) for use in index.consumers["a"]] == [("add", 0), ("add", 1)]
    assert index.outputs == {"y", "a"}
    assert index.constant("a") is None


def test_a_node_reads_what_its_bodies_read():
    body = helper.make_graph([helper.make_node("Identity", ["captured"], ["inner"])], "b", [], [])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=body, else_branch=body)
    assert reads(node) == {"condition", "captured"}
    assert reads(helper.make_node("Add", ["a", "b"], ["c"])) == {"a", "b"}

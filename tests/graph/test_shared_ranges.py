import pytest
from onnx import helper

from trt_int8.graph import GraphIndex
from trt_int8.graph.tensors import tied_outputs, view_outputs


@pytest.fixture
def index(make_model):
    """x → Relu → MaxPool → Flatten → Sigmoid, and a Reshape of another domain."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Identity", ["f"], ["i"]),
        helper.make_node("Sigmoid", ["i"], ["y"]),
    ]
    return GraphIndex(make_model(nodes, inputs={"x": [1, 2, 4, 4]}, outputs=["y"]))


def test_a_chain_of_passing_operators_takes_the_range_of_its_start(index):
    assert tied_outputs(index, set(index.order)) == {"p": "r", "f": "r", "i": "r"}


def test_the_start_is_the_first_tensor_that_is_asked_for(index):
    assert tied_outputs(index, {"p", "i"}) == {"i": "p"}
    assert tied_outputs(index, {"r", "i"}) == {"i": "r"}
    assert tied_outputs(index, {"x", "y"}) == {}


def test_views_hold_all_values_and_a_pool_does_not(index):
    assert view_outputs(index) == {"f": "p", "i": "p"}


def test_an_operator_of_another_domain_is_no_view(index):
    next(node for node in index.graph.node if node.op_type == "Flatten").domain = "my.own"
    assert view_outputs(index) == {"i": "f"}
    assert tied_outputs(index, set(index.order)) == {"p": "r", "i": "f"}

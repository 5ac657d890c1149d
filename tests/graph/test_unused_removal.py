import numpy as np
import onnx
from onnx import helper, numpy_helper

from trt_int8.graph import GraphIndex
from trt_int8.graph.passes.subgraph import remove_unused


def test_constants_that_nothing_reads_go(make_model):
    """Initializers, their entries among the inputs, and Constant nodes; what an If reads inside stays."""
    value = numpy_helper.from_array(np.ones(2, np.float32))
    body = helper.make_graph(
        [helper.make_node("Identity", ["inside"], ["b"])],
        "body",
        [],
        [helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [2])],
    )
    model = make_model(
        [
            helper.make_node("Constant", [], ["c"], value=value),
            helper.make_node("Constant", [], ["shown"], value=value),
            helper.make_node("Add", ["x", "w"], ["a"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
        ],
        inputs={"x": [2], "old": [2]},
        outputs=["a", "y", "shown"],
        weights={
            "w": np.ones(2, np.float32),
            "old": np.ones(2, np.float32),
            "inside": np.ones(2, np.float32),
            "yes": np.array(True),
        },
    )
    assert remove_unused(model, index=GraphIndex(model))
    assert [node.op_type for node in model.graph.node] == ["Constant", "Add", "If"]
    assert model.graph.node[0].output == ["shown"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "inside", "yes"]
    assert [value.name for value in model.graph.input] == ["x"]
    onnx.checker.check_model(model, full_check=True)
    assert not remove_unused(model)

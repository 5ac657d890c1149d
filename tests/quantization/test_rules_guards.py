"""The rules that keep Q/DQ away."""

import numpy as np
from graphs import conv, initializer, node, op, weight
from onnx import TensorProto, helper
from rules import C, X, conv_weights, quantized, rule


@rule("bodies")
def bodies(make_model, rng, placement):
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["c", "w"], ["b"], name="inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["b2"])],
        "other",
        [],
        [helper.make_tensor_value_info("b2", TensorProto.FLOAT, None)],
    )
    model = make_model(
        [
            op("MatMul", "x w", "c"),
            helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=branch, else_branch=other),
        ],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "yes": np.array(True)},
    )
    result = quantized(model, placement)
    assert result.nodes == ("c",)
    body = node(result.model, "choice").attribute[0].g
    assert body.node[0].op_type in ("MatMul", "Identity")
    assert initializer(result.model, "w").dtype == np.float32  # the body reads it
    assert result.notes == ("choice: the body of If stays float",)


@rule("constant-operands")
def constant_operands(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "w v", "wv"), op("MatMul", "x wv", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "v": weight(rng, 4, 4)},
    )
    assert not {"wv"} & set(quantized(model, placement).nodes)


@rule("constant-addends")
def constant_addends(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w", "c", "c"),
            op("Add", "c half", "a"),
            conv("a", "w", "y", "y"),
            op("Add", "x half", "z"),
        ],
        inputs=X,
        outputs=["y", "z"],
        weights={**conv_weights(rng, "w"), "half": np.float32(0.5)},
    )
    result = quantized(model, placement)
    assert result.nodes == ("c", "y")
    assert not any(node(result.model, name).input[1] != "half" for name in ("a", "z"))


@rule("fused-activations")
def fused_activations(make_model, rng, placement):
    # GELU by tanh: x/2 (1 + tanh(k (x + c x³))). Its Add of two tensors is no residual connection. x is
    # quantized for conv2, and g for conv3, so the rules for Add would ask for pairs.
    model = make_model(
        [
            conv("i", "w", "x", "conv1"),
            op("Mul", "x x", "x2"),
            op("Mul", "x2 x", "x3"),
            op("Mul", "x3 c", "cx3"),
            op("Add", "x cx3", "sum"),
            op("Mul", "sum k", "inner"),
            op("Tanh", "inner", "t"),
            op("Add", "t one", "t1"),
            op("Mul", "x t1", "xt"),
            op("Mul", "xt half", "g"),
            conv("x", "w", "y1", "conv2"),
            conv("g", "w", "y2", "conv3"),
        ],
        inputs={"i": [1, C, 8, 8]},
        outputs=["y1", "y2"],
        weights={
            **conv_weights(rng, "w"),
            "c": np.float32(0.044715),
            "k": np.float32(0.79788),
            "one": np.float32(1),
            "half": np.float32(0.5),
        },
    )
    result = quantized(model, placement)
    assert result.nodes == ("conv1", "conv2", "conv3")

"""Rules for the operators that multiply, for their weights, and for what stays in float."""

import numpy as np
from graphs import conv, has_pair, initializer, node, op, producer, scale, weight
from onnx import TensorProto, helper
from rules import C, X, attention, conv_weights, norm_model, quantized, rule

from trt_int8.evaluation import evaluate


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


@rule("per-channel-weights")
def per_channel_weights(make_model, rng, placement):
    model = make_model([conv("x", "w", "y", "conv")], inputs=X, outputs=["y"], weights=conv_weights(rng, "w"))
    assert scale(quantized(model, placement).model, "conv", 1).shape == (C,)


@rule("per-channel-batches")
def per_channel_batches(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "x w", "y"), op("MatMul", "v x", "z")],
        inputs={"x": [3, 4, 8]},
        outputs=["y", "z"],
        weights={"w": weight(rng, 3, 8, 5), "v": weight(rng, 3, 6, 4)},
    )
    model = quantized(model, placement).model
    assert scale(model, "y", 1).shape == (5,)
    assert scale(model, "z", 0).shape == (6,)


@rule("fold-batch-norm")
def fold_batch_norm(make_model, rng, placement):
    model = norm_model(make_model, rng)
    result = quantized(model, placement, **dict.fromkeys(["x", "n", "r"], 4.0))
    assert "BatchNormalization" not in {n.op_type for n in result.model.graph.node}
    assert list(node(result.model, "conv1").output) == ["n"]


@rule("one-scale-convolution")
def one_scale_convolution(make_model, rng, placement):
    model = make_model(
        [conv("x", "w", "a", "conv"), op("Relu", "a", "y")],
        inputs=X,
        outputs=["y"],
        weights=conv_weights(rng, "w"),
    )
    assert scale(quantized(model, placement).model, "conv", 1).shape == ()


@rule("matmul-activations")
def matmul_activations(make_model, rng, placement):
    result = quantized(attention(make_model), placement)
    assert result.nodes == ("qk", "pv", "projection")
    assert all(has_pair(result.model, name, slot) for name in ("qk", "pv") for slot in (0, 1))


@rule("convolution")
def convolution(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w", "a", "plain"),
            conv("a", "g", "b", "grouped", group=2),
            conv("b", "d", "c", "depthwise", group=C),
            op("Gemm", "f m", "y"),
        ],
        inputs={**X, "f": [1, 4]},
        outputs=["c", "y"],
        weights={
            "w": weight(rng, C, C, 3, 3),
            "g": weight(rng, C, C // 2, 3, 3),
            "d": weight(rng, C, 1, 3, 3),
            "m": weight(rng, 4, 4),
        },
    )
    result = quantized(model, placement)
    assert result.nodes == ("plain", "grouped", "depthwise", "y")
    assert all(
        has_pair(result.model, name, slot) for name in ("plain", "grouped", "depthwise") for slot in (0, 1)
    )
    assert {scale(result.model, name, 1).shape for name in ("plain", "grouped", "depthwise")} == {(C,)}


@rule("transposed-convolution")
def transposed_convolution(make_model, rng, placement):
    model = make_model(
        [
            op("ConvTranspose", "x w", "a", strides=[2, 2]),
            op("ConvTranspose", "a g", "b", strides=[2, 2], group=2),
            conv("b", "v", "y", "conv"),
        ],
        inputs=X,
        outputs=["y"],
        weights={"w": weight(rng, C, 6, 2, 2), "g": weight(rng, 6, 2, 2, 2), "v": weight(rng, C, C, 3, 3)},
    )
    model = quantized(model, placement).model
    assert has_pair(model, "a")
    assert has_pair(model, "b")
    assert scale(model, "a", 1).shape == (6,)
    dequantize = producer(model, node(model, "a").input[1])
    assert helper.get_node_attr_value(dequantize, "axis") == 1
    assert scale(model, "b", 1).shape == ()  # an entry of axis 1 serves a channel of each group


@rule("gemm")
def gemm(make_model, rng, placement):
    model = make_model(
        [
            op("Gemm", "x w", "a", transA=1, transB=1, alpha=0.5),
            op("Gemm", "v a b", "c", transA=1, beta=2.0),
            op("MatMul", "c u", "y"),
        ],
        inputs={"x": [8, 4]},
        outputs=["y"],
        weights={
            "w": weight(rng, 6, 8),
            "v": weight(rng, 4, 4),
            "b": np.ones(6, np.float32),
            "u": weight(rng, 6, 6),
        },
    )
    float_model, model = model, quantized(model, placement, c=12.0).model
    assert [
        helper.get_node_attr_value(producer(model, node(model, n).input[s]), "axis")
        for n, s in (("a", 1), ("c", 0))
    ] == [0, 1]
    assert node(model, "c").input[2] == "b"
    data = {"x": rng.uniform(-2, 2, (8, 4)).astype(np.float32)}
    assert evaluate(float_model, model, [data]).outputs["y"].sqnr_db > 25


@rule("matmul-weight")
def matmul_weight(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "x w", "a"), op("MatMul", "v a", "b"), op("Gemm", "b w", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "v": weight(rng, 4, 4)},
    )
    model = quantized(model, placement).model
    assert [
        helper.get_node_attr_value(producer(model, node(model, n).input[s]), "axis")
        for n, s in (("a", 1), ("b", 0))
    ] == [1, 0]
    assert has_pair(model, "a", 0)
    assert has_pair(model, "b", 1)

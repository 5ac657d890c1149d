"""The rules for the operators that multiply."""

import numpy as np
from graphs import conv, has_pair, node, op, producer, scale, weight
from onnx import helper
from rules import C, X, attention, quantized, rule

from trt_int8.evaluation import evaluate


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

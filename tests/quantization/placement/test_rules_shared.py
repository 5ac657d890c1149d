"""Rules for operators that do not multiply: scales and pairs that they share with those that do."""

import numpy as np
from graphs import conv, has_pair, node, op, scale, weight
from rules import C, X, attention, conv_weights, quantized, rule

from trt_int8.quantization import PLACEMENTS


@rule("concat-scales")
def concat_scales(make_model, rng, placement):
    # Two Concats in a row, so that the group is a transitive one.
    model = make_model(
        [
            conv("x", "w", "a", "conv1"),
            op("Concat", "x a", "c1", axis=1),
            op("Concat", "c1 x", "c2", axis=1),
            op("Conv", "c2 w12", "y", "conv2"),
        ],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w"), "w12": weight(rng, C, 3 * C, 1, 1)},
    )
    result = quantized(model, placement, x=1.0, a=5.0, c1=5.5, c2=4.0)
    assert scale(result.model, "conv1") == scale(result.model, "conv2") == np.float32(5.5 / 127)


@rule("max-pool-scales")
def max_pool_scales(make_model, rng, placement):
    model = make_model(
        [
            op("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
            op("Transpose", "p", "t", perm=[0, 1, 3, 2]),
            conv("t", "w", "y1", "conv1"),
            conv("x", "w", "y2", "conv2"),
        ],
        inputs=X,
        outputs=["y1", "y2"],
        weights=conv_weights(rng, "w"),
    )
    result = quantized(model, placement, x=3.0, p=2.0, t=1.0)
    assert scale(result.model, "conv1") == scale(result.model, "conv2") == np.float32(3 / 127)


@rule("softmax-range")
def softmax_range(make_model, rng, placement):
    result = quantized(attention(make_model), placement, p=0.3, d=0.3)
    assert scale(result.model, "pv") == np.float32(1 / 127)
    assert scale(result.model, "pv", 1) == np.float32(2 / 127)


def test_softmax_spread_over_many_tokens_keeps_its_range(make_model):
    result = quantized(attention(make_model), PLACEMENTS["tensorrt"], p=0.1, d=0.1)
    assert scale(result.model, "pv") == np.float32(0.1 / 127)
    assert result.notes == (
        "softmax: its largest value is 0.1, too small for the range [0, 1]; the calibrated range is used",
    )


def residual(make_model, rng):
    return make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("Relu", "a", "r"),
            conv("r", "w2", "b", "conv2"),
            op("Sigmoid", "x", "s"),
            op("Add", "s b", "sum1"),
            op("Add", "r sum1", "sum2"),
            conv("sum2", "w2", "y", "conv3"),
        ],
        inputs=X,
        outputs=["y"],
        weights=conv_weights(rng, "w1", "w2"),
    )


@rule("residual-add")
def residual_add(make_model, rng, placement):
    model = quantized(residual(make_model, rng), placement.without("weightless")).model
    assert [has_pair(model, "sum1", slot) for slot in (0, 1)] == [True, False]
    assert [has_pair(model, "sum2", slot) for slot in (0, 1)] == [False, False]


@rule("weightless")
def weightless(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("Relu", "a", "r"),
            op("Add", "r x", "sum"),
            op("AveragePool", "sum", "p", kernel_shape=[2, 2], strides=[2, 2]),
            conv("p", "w2", "c", "conv2"),
            op("Relu", "c", "rc"),
            op("GlobalAveragePool", "rc", "g"),
            op("Flatten", "g", "f"),
            op("Gemm", "f w", "logits"),
            op("AveragePool", "rc", "last", kernel_shape=[2, 2]),
        ],
        inputs=X,
        outputs=["logits", "last"],
        weights={**conv_weights(rng, "w1", "w2"), "w": weight(rng, 4, 4)},
    )
    model = quantized(model, placement).model
    assert [has_pair(model, "sum", slot) for slot in (0, 1)] == [True, True]
    assert has_pair(model, "p")
    assert has_pair(model, "g")
    assert not has_pair(model, "last")  # its output is float: INT8 input would only add a step


def test_a_pool_that_is_also_an_output_stays_float(make_model, rng):
    model = make_model(
        [op("AveragePool", "x", "p", kernel_shape=[2, 2]), conv("p", "w", "y", "conv")],
        inputs=X,
        outputs=["y", "p"],
        weights=conv_weights(rng, "w"),
    )
    assert quantized(model, PLACEMENTS["tensorrt"]).nodes == ("conv",)


@rule("reuse")
def reuse(make_model, rng, placement):
    model = quantized(residual(make_model, rng), placement).model
    assert [has_pair(model, "sum1", slot) for slot in (0, 1)] == [False, False]
    assert [has_pair(model, "sum2", slot) for slot in (0, 1)] == [True, False]
    assert node(model, "sum2").input[0] == node(model, "conv2").input[0]

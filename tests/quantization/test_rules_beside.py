"""The rules for nodes that read INT8 beside those that multiply."""

from graphs import conv, has_pair, node, op, weight
from rules import X, conv_weights, quantized, rule

from trt_int8.quantization import PLACEMENTS


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

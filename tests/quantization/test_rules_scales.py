"""The rules for the scales of activations."""

import numpy as np
from graphs import conv, op, scale, weight
from rules import (
    C,
    X,
    attention,
    conv_weights,
    quantized,
    rule,
)

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
        "softmax: its values reach 0.1, too little for the range [0, 1]; the calibrated one is used",
    )

"""The rules for weights: scales for each output channel, BatchNormalization folded."""

from graphs import conv, node, op, scale, weight
from rules import C, X, conv_weights, norm_model, quantized, rule


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

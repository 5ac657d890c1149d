"""One weight scale for convolutions that end behind bias and activation: what may stand behind them."""

import numpy as np
import pytest
from epilogues import ENDS, RELU, UNEVEN, C, built, convolution, has_one_scale, quantized, scaled
from graphs import op, scale
from onnx import TensorProto, helper

from trt_int8.quantization.migration import migrate
from trt_int8.quantization.selection import Selection
from trt_int8.ranges import CalibrationCache


@pytest.mark.parametrize(
    ("behind", "one"),
    [
        ([RELU], True),
        ([op("Clip", "c low high", "act")], True),
        ([op("LeakyRelu", "c", "act")], True),
        ([op("Sigmoid", "c", "act")], True),
        ([op("Identity", "c", "act")], False),
        ([op("HardSwish", "c", "act")], False),
        ([op("Sigmoid", "c", "g"), op("Mul", "c g", "act")], False),
        ([op("Relu", "c", "r1"), op("Relu", "r1", "act")], False),
    ],
    ids=lambda value: " ".join(n.op_type for n in value) if isinstance(value, list) else None,
)
def test_bias_and_one_activation_may_stand_behind_it(behind, one, make):
    assert has_one_scale(make(convolution(*behind))) is one


@pytest.mark.parametrize(
    ("added", "inputs", "one"),
    [
        ("c bias", "x w", True),
        ("narrow c", "x w", True),
        ("c everywhere", "x w", False),
        ("c low", "x w", False),
        ("c bias", "x w b", False),  # it has one
    ],
)
def test_the_bias_may_be_written_apart(added, inputs, one, make):
    model = make(convolution(op("Add", added, "n"), op("Relu", "n", "act"), inputs=inputs))
    assert has_one_scale(model) is one
    if "bias" in added:
        compute, more = (built(model, *without)[0] for without in ((), ("one-scale-convolution",)))
        assert more - compute == one


@pytest.mark.parametrize(
    ("end", "one"),
    [
        ("pair", True),
        ("max-pool", True),
        ("mean", True),
        ("up", True),
        ("pair and up", True),
        ("add and pair", True),  # the Add reads the pair, too
        ("add", False),
        ("concat", False),
        ("gate", False),
    ],
)
def test_what_may_read_it(end, one, make):
    assert has_one_scale(make(convolution(RELU, end=end))) is one


@pytest.mark.parametrize(
    ("end", "outputs", "one"),
    [
        ("pair", ["y", "act"], False),
        # The sum before the activation is wanted, and read by an activation: not the end.
        ("pair", ["y", "c"], False),
        ("pair and up", ["y", "act"], False),
        ("up", ["y", "act"], True),
        ("nothing", ["act"], True),
    ],
)
def test_outputs(end, outputs, one, make):
    """With per-channel scales, one kernel writes an output and its INT8 values."""
    model = make(convolution(RELU, end=end), outputs=outputs)
    assert has_one_scale(model) is one
    if one:
        kernels = [built(model, *without) for without in ((), ("one-scale-convolution",))]
        assert all(one <= more for one, more in zip(*kernels, strict=True))


def test_a_convolution_in_float_may_read_it(make):
    model = make(convolution(RELU))
    assert has_one_scale(model, selection=Selection(exclude=("y",)))
    kernels = [
        built(model, *without, selection=Selection(exclude=("y",)))
        for without in ((), ("one-scale-convolution",))
    ]
    assert all(one <= more for one, more in zip(*kernels, strict=True))
    assert kernels[0][0] < kernels[1][0]


def test_operators_of_others_are_not_what_they_are_called(make):
    for number, behind in ((1, [RELU]), (2, [RELU])):
        model = make(convolution(*behind, end="max-pool"))
        assert has_one_scale(model)
        model.graph.node[number].domain = "my.plugins"
        model.opset_import.append(helper.make_opsetid("my.plugins", 1))
        assert not has_one_scale(model)


@pytest.mark.parametrize(("group", "one"), [(1, True), (4, False), (8, False), (C, True)])
def test_grouped_convolutions_gain_nothing(group, one, make, weights):
    model = make(convolution(RELU, group=group), w=weights["w"][:, : C // group])
    assert has_one_scale(model) is one
    compute, more = (built(model, *without)[0] for without in ((), ("one-scale-convolution",)))
    assert more - compute == one


@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_dimensions(dimensions, make_model, rng):
    size = [1, C, *[6] * dimensions]
    nodes = [
        op("Conv", "x w", "c"),
        op("Add", "c n", "d"),
        op("Relu", "d", "act"),
        op("Conv", "act w b", "y"),
    ]
    model = make_model(
        nodes,
        inputs={"x": size},
        outputs=["y"],
        weights={
            "w": rng.uniform(-1, 1, (C, C, *[1] * dimensions)).astype(np.float32),
            "b": np.zeros(C, np.float32),
            "n": np.ones((C, *[1] * dimensions), np.float32),
        },
    )
    assert has_one_scale(model)
    compute, more = (built(model, *without)[0] for without in ((), ("one-scale-convolution",)))
    assert more - compute == 1 + (scale(quantized(model), "y", 1).shape == ())


def test_a_weight_that_is_computed_is_none(make, weights):
    model = make(
        [op("Softplus", "w", "w_made"), op("Conv", "x w_made b", "c", pads=[1] * 4), RELU, *ENDS["pair"]]
    )
    pairs = [node.input[0] for node in quantized(model).graph.node if node.op_type == "QuantizeLinear"]
    assert pairs == ["x", "w_made", "act"]
    assert scale(quantized(model), "y", 1).shape == (C,)  # UNEVEN


@pytest.mark.parametrize(("shape", "one"), [((C, 1, 1), True), ((C,), False), ((1, 1, 1, C), False)])
def test_a_row_is_no_bias(shape, one, make_model, weights):
    """Where images are as wide as there are channels."""
    model = make_model(
        convolution(op("Add", "c n", "d"), op("Relu", "d", "act"), inputs="x w"),
        inputs={"x": [1, C, 8, C]},
        outputs=["y"],
        weights={name: weights[name] for name in "wp"} | {"n": np.ones(shape, np.float32)},
    )
    assert has_one_scale(model) is one


@pytest.mark.parametrize("read", ["c", "act"])
def test_what_a_body_reads_is_no_end(read, make):
    body = helper.make_graph(
        [op("Identity", read, "inner")],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, C, 8, 8])],
    )
    choice = helper.make_node("If", ["always"], ["z"], name="if", then_branch=body, else_branch=body)
    nodes = [*convolution(RELU), choice]
    assert has_one_scale(make(nodes[:-1]))
    assert not has_one_scale(make(nodes, outputs=["y", "z"], always=np.bool_(True)))


def test_a_shared_weight_may_have_both(make):
    nodes = [*convolution(RELU)[:-1], op("Conv", "act w b", "e", pads=[1] * 4), op("Add", "e act", "y")]
    model = quantized(make(nodes))
    assert (scale(model, "c", 1).shape, scale(model, "e", 1).shape) == ((), (C,))


def test_with_the_batch_normalization_folded_in(make, weights):
    vectors = {"g": UNEVEN, "h": UNEVEN, "m": UNEVEN, "v": np.ones(C, np.float32)}
    norm = op("BatchNormalization", "c g h m v", "n")
    behind = [norm, op("Relu", "n", "act")]
    assert not has_one_scale(make(convolution(*behind), **vectors))
    evened = scaled(weights["w"], 1 / UNEVEN)
    assert has_one_scale(make(convolution(*behind), **vectors, w=evened))
    # It is the bias: what is added to it is another step.
    added = [norm, op("Add", "n bias", "d"), op("Relu", "d", "act")]
    assert not has_one_scale(make(convolution(*added, inputs="x w"), **vectors, w=evened))


@pytest.mark.parametrize(
    ("end", "compute", "kernels", "moved"),
    [
        ("pair", 1, 0, 0),
        ("add and pair", 1, 0, 0),
        ("pair and up", 1, 1, 8),
        ("up", 1, 1, 8),  # written once, read once: 4 KB each
        ("max-pool", 1, 0, 0),
        ("mean", 1, 1, 8),
    ],
)
def test_what_tensorrt_rtx_saves(end, compute, kernels, moved, make):
    model = make(convolution(RELU, end=end))
    one, more = built(model), built(model, "one-scale-convolution")
    assert tuple(b - a for a, b in zip(one, more, strict=True)) == (compute, kernels, moved)


def test_migration_keeps_a_scale_a_channel(make):
    model = make(convolution(RELU))
    cache = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 3c008912\nact: 3c88edfc\n")
    assert scale(migrate(model, cache, placement="rtx").model, "c", 1).shape == (C,)

"""One weight scale for convolutions that end behind bias and activation."""

import numpy as np
import pytest
from graphs import op, ranges, scale
from onnx import TensorProto, helper

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.quantization import PLACEMENTS, quantize
from trt_int8.quantization.migration import migrate
from trt_int8.quantization.placement.epilogue import KEPT_DB, round_with_one_scale
from trt_int8.quantization.selection import Selection
from trt_int8.ranges import CalibrationCache
from trt_int8.report import PrecisionReport
from trt_int8.report.flow import size_in_bytes

C = 16
UNEVEN = np.geomspace(1, 300, C).astype(np.float32)
#: What reads "act", the end of the convolution "c".
ENDS = {
    "pair": [op("Conv", "act p", "y")],
    "max-pool": [op("MaxPool", "act", "m", kernel_shape=[2, 2]), op("Conv", "m p", "y")],
    "mean": [op("AveragePool", "act", "m", kernel_shape=[2, 2]), op("Conv", "m p", "y")],
    "up": [op("ConvTranspose", "act t", "y", strides=[2, 2])],
    "pair and up": [op("Conv", "act p", "d"), op("ConvTranspose", "act t", "y", strides=[2, 2])],
    "add": [op("Add", "act r", "s"), op("Conv", "s p", "y")],
    "add and pair": [op("Conv", "act p", "d"), op("Conv", "act p", "e"), op("Add", "d act", "y")],
    "concat": [op("Concat", "act r", "s", axis=1), op("Conv", "s p2", "y")],
    "gate": [op("Mul", "act r", "s"), op("Conv", "s p", "y")],
}


@pytest.fixture
def weights(rng):
    def alike(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    return {
        "w": alike(C, C, 3, 3),
        "b": alike(C),
        "p": alike(C, C, 1, 1) * UNEVEN[:, None, None, None],
        "p2": alike(C, 2 * C, 1, 1) * UNEVEN[:, None, None, None],
        "t": alike(C, C, 2, 2),
        "low": np.float32(0),
        "high": np.float32(6),
        "bias": alike(1, C, 1, 1),
        "narrow": alike(C, 1, 1),
        "everywhere": alike(1, C, 8, 8),
    }


@pytest.fixture
def make(make_model, weights):
    def make(nodes, outputs=("y",), **replaced):
        used = {name for node in nodes for name in node.input}
        inputs = {name: [1, C, 8, 8] for name in ("x", "r") if name in used}
        constants = {name: value for name, value in {**weights, **replaced}.items() if name in used}
        return make_model(nodes, inputs=inputs, outputs=list(outputs), weights=constants)

    return make


def convolution(*behind, end="pair", inputs="x w b", **attributes):
    return [op("Conv", inputs, "c", pads=[1] * 4, **attributes), *behind, *ENDS[end]]


def quantized(model, placement=PLACEMENTS["rtx"], **options):
    """``act``: the end of its range; all others end at 2."""
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    amax = dict.fromkeys(sorted(names), 2.0) | {"act": options.pop("act", 20.0)}
    return quantize(model, ranges(**amax), placement=placement, **options).model


def has_one_scale(model, **options):
    return scale(quantized(model, **options), "c", 1).shape == ()


def kept_db(values):
    return round_with_one_scale(values).kept_db


RELU = op("Relu", "c", "act")


def test_what_one_scale_keeps_of_each_channel(rng):
    values = (rng.normal(size=(5, 7, 3)) * [[[1]], [[3]], [[0.1]], [[30]], [[0]]]).astype(np.float32)
    step = np.abs(values).max() / 127
    expected = []
    for channel in values[:4].astype(np.float64):
        lost = sum((v - step * round(v / step)) ** 2 for v in channel.ravel())
        expected.append(10 * np.log10(sum(v**2 for v in channel.ravel()) / lost))
    assert kept_db(values) == pytest.approx([*expected, np.inf], abs=1e-4)
    assert kept_db(np.arange(-127, 128, dtype=np.float32).reshape(1, -1)) == [np.inf]


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


@pytest.mark.parametrize("outputs", [["y", "act"], ["y", "c"]])
def test_outputs_are_no_end(outputs, make):
    """One kernel writes an output and its INT8 values, with a scale a channel."""
    assert not has_one_scale(make(convolution(RELU), outputs=outputs))


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


def scaled(weight, factors):
    return weight * np.asarray(factors, np.float32)[:, None, None, None]


def test_channels_that_differ_keep_their_scales(make, weights):
    uneven = scaled(weights["w"], UNEVEN)
    assert np.median(kept_db(weights["w"])) > KEPT_DB > np.median(kept_db(uneven))
    assert not has_one_scale(make(convolution(RELU), w=uneven))


def test_the_limit_is_38_db(make, weights):
    # A factor of the largest channel costs the others as much: 20 log₁₀.
    kept = np.median(kept_db(weights["w"]))
    for more, one in ((-1, True), (1, False)):
        factor = 10 ** ((kept - 38 + more) / 20)
        largest = scaled(weights["w"], [factor] + [1] * (C - 1))
        assert np.median(kept_db(largest)) == pytest.approx(38 - more, abs=0.7)
        assert has_one_scale(make(convolution(RELU), w=largest)) is one


@pytest.mark.parametrize(
    ("nodes", "outputs", "one"),
    [
        (convolution(RELU), ["y"], True),
        (convolution(op("LeakyRelu", "c", "act")), ["y"], True),
        (convolution(op("Sigmoid", "c", "act")), ["y"], False),
        (convolution(op("Clip", "c low high", "act")), ["y"], False),
        (convolution(RELU, end="max-pool"), ["y"], False),
        (convolution(RELU, end="up"), ["y"], False),
        (convolution(RELU, end="pair and up"), ["y"], False),
    ],
)
def test_small_channels_count_where_a_pair_does_not_hide_them(nodes, outputs, one, make, weights):
    few_small = scaled(weights["w"], [1] * (C - 3) + [0.003] * 3)
    kept = kept_db(few_small)
    assert np.median(kept) > KEPT_DB > 10 > kept.min()
    assert has_one_scale(make(nodes, outputs=outputs)), "the weight that is alike"
    assert has_one_scale(make(nodes, outputs=outputs, w=few_small)) is one


@pytest.mark.parametrize(("small", "one"), [(7, True), (9, False)])
def test_behind_a_pair_the_channel_in_the_middle_decides(small, one, make, weights):
    weight = scaled(weights["w"], [1] * (C - small) + [0.01] * small)
    assert has_one_scale(make(convolution(RELU), w=weight)) is one


@pytest.mark.parametrize("dead", [8, 13])
def test_channels_of_zeros_are_worth_nothing(dead, make, weights):
    alive = [1] + [0.01] * (C - dead - 1)
    weight = scaled(weights["w"], alive + [0] * dead)
    assert np.median(kept_db(weight)) > KEPT_DB, "infinite: nothing is lost of zeros"
    assert not has_one_scale(make(convolution(RELU), w=weight))
    assert has_one_scale(make(convolution(RELU), w=scaled(weights["w"], [1] * (C - dead) + [0] * dead)))
    assert not has_one_scale(make(convolution(RELU), w=0 * weights["w"]))


def test_small_weights_are_hidden_by_the_pair_only_if_its_step_is_larger(make, weights):
    """Where large filters never fire, the range of the output is that of the small ones."""
    model = make(convolution(RELU), w=scaled(weights["w"], [1] * 9 + [0.003] * 7))
    step = np.sqrt(round_with_one_scale(scaled(weights["w"], [1] * 9 + [0.003] * 7)).noise[-7:].max()) * 2
    assert has_one_scale(model, act=step / 4 * 127 * 1.01)
    assert not has_one_scale(model, act=step / 4 * 127 * 0.99)
    # What keeps 38 dB is not hidden, and need not be.
    assert has_one_scale(make(convolution(RELU)), act=step / 400)


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


def built(model, *without, **options):
    """Compute kernels, all kernels, KB that they read and write."""
    log = BuildLog()
    model = quantized(model, PLACEMENTS["rtx"].without(*without), **options)
    build_explicit(model, tensorrt=load("tensorrt_rtx"), log=log)
    build = PrecisionReport.from_lines(log.lines).last
    (node,) = [node for node in build.nodes if node.node == "c"]
    assert node.precision == "int8"
    moved = sum(size_in_bytes(t) or 0 for layer in build.layers for t in (*layer.inputs, *layer.outputs))
    return len(build.compute_layers), len(build.layers), moved // 1024


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

"""One weight scale for convolutions that end behind bias and activation."""

import numpy as np
import pytest
from graphs import op, ranges, scale

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.quantization import PLACEMENTS, quantize
from trt_int8.quantization.migration import migrate
from trt_int8.quantization.placement.epilogue import KEPT_DB, kept_by_one_scale
from trt_int8.ranges import CalibrationCache
from trt_int8.report import PrecisionReport
from trt_int8.report.flow import size_in_bytes

C = 16
UNEVEN = np.geomspace(1, 300, C).astype(np.float32)
#: "act" is what stands before the end, c is the tensor behind the convolution.
ENDS = {
    "pair": [op("Conv", "act p", "y")],
    "output": [op("Identity", "act", "other"), op("Conv", "act p", "y")],
    "max-pool": [op("MaxPool", "act", "m", kernel_shape=[2, 2]), op("Conv", "m p", "y")],
    "up": [op("ConvTranspose", "act t", "y", strides=[2, 2])],
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


def convolution(*behind, end="pair"):
    return [op("Conv", "x w b", "c", pads=[1] * 4), *behind, *ENDS[end]]


def quantized(model, placement=PLACEMENTS["rtx"]):
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    return quantize(model, ranges(**dict.fromkeys(sorted(names), 2.0)), placement=placement).model


def has_one_scale(model):
    return scale(quantized(model), "c", 1).shape == ()


RELU = op("Relu", "c", "act")


def test_what_one_scale_keeps_is_the_median_over_the_channels(rng):
    values = (rng.normal(size=(5, 7, 3)) * [[[1]], [[3]], [[0.1]], [[30]], [[0]]]).astype(np.float32)
    step = np.abs(values).max() / 127
    kept = []
    for channel in values[:4].astype(np.float64):
        lost = sum((v - step * round(v / step)) ** 2 for v in channel.ravel())
        kept.append(10 * np.log10(sum(v**2 for v in channel.ravel()) / lost))
    # Of five channels the third best; the one of zeros loses nothing.
    assert kept_by_one_scale(values) == pytest.approx(sorted([*kept, np.inf])[2], abs=1e-4)
    assert kept_by_one_scale(np.arange(-127, 128, dtype=np.float32).reshape(1, -1)) == np.inf
    assert kept_by_one_scale(np.zeros((3, 2), np.float32)) == np.inf


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
        ([op("Add", "c bias", "n"), op("Relu", "n", "act")], True),
        ([op("Add", "narrow c", "n"), op("Relu", "n", "act")], True),
        ([op("Add", "c everywhere", "n"), op("Relu", "n", "act")], False),
        ([op("Add", "c low", "n"), op("Relu", "n", "act")], False),
    ],
    ids=lambda value: " ".join(n.op_type for n in value) if isinstance(value, list) else None,
)
def test_bias_and_one_activation_may_stand_behind_it(behind, one, make):
    assert has_one_scale(make(convolution(*behind))) is one


@pytest.mark.parametrize(
    ("end", "one"),
    [
        ("pair", True),
        ("max-pool", True),
        ("up", True),
        ("add and pair", True),  # the Add reads the pair, too
        ("add", False),
        ("concat", False),
        ("gate", False),
    ],
)
def test_what_may_read_it(end, one, make):
    assert has_one_scale(make(convolution(RELU, end=end))) is one


def test_outputs_may_be_it(make):
    assert has_one_scale(make(convolution(RELU), outputs=["y", "act"]))
    # The sum before the activation is wanted, and read by an activation: not the end.
    assert not has_one_scale(make(convolution(RELU), outputs=["y", "c"]))


def test_channels_that_differ_keep_their_scales(make, weights):
    uneven = weights["w"] * UNEVEN[:, None, None, None]
    assert kept_by_one_scale(weights["w"]) > KEPT_DB > kept_by_one_scale(uneven)
    assert not has_one_scale(make(convolution(RELU), w=uneven))


def test_with_the_batch_normalization_folded_in(make, weights):
    vectors = {"g": UNEVEN, "h": UNEVEN, "m": UNEVEN, "v": np.ones(C, np.float32)}
    norm = op("BatchNormalization", "c g h m v", "n")
    behind = [norm, op("Relu", "n", "act")]
    assert not has_one_scale(make(convolution(*behind), **vectors))
    evened = weights["w"] / UNEVEN[:, None, None, None]
    assert has_one_scale(make(convolution(*behind), **vectors, w=evened))


def built(model, *without):
    """Compute kernels, all kernels, KB that they read and write."""
    log = BuildLog()
    build_explicit(
        quantized(model, PLACEMENTS["rtx"].without(*without)), tensorrt=load("tensorrt_rtx"), log=log
    )
    build = PrecisionReport.from_lines(log.lines).last
    (node,) = [node for node in build.nodes if node.node == "c"]
    assert node.precision == "int8"
    moved = sum(size_in_bytes(t) or 0 for layer in build.layers for t in (*layer.inputs, *layer.outputs))
    return len(build.compute_layers), len(build.layers), moved // 1024


@pytest.mark.parametrize(("end", "kernels"), [("pair", 0), ("up", 1)])
def test_tensorrt_rtx_needs_a_compute_kernel_less(end, kernels, make):
    model = make(convolution(RELU, end=end))
    compute, every, moved = built(model)
    more = built(model, "one-scale-convolution")
    assert (more[0] - compute, more[1] - every) == (1, kernels)
    assert more[2] - moved == 8 * kernels  # written once, read once: 4 KB each


def test_migration_keeps_a_scale_a_channel(make):
    model = make(convolution(RELU))
    cache = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 3c008912\nact: 3c88edfc\n")
    assert scale(migrate(model, cache, placement="rtx").model, "c", 1).shape == (C,)

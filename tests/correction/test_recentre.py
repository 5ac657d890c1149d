import numpy as np
import onnx
import pytest
from corrected import corrected_by
from onnx import helper

from trt_int8.calibration import calibrate
from trt_int8.correction.offsets import best_offset
from trt_int8.correction.recentre import recentrable, recentre, refusals
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.accuracy import AccuracyCheck
from trt_int8.graph.runtime import Session
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.report import PrecisionReport


def outputs(model, batch):
    session = Session(model, optimize=False)
    return dict(zip(session.outputs, session.run(batch, session.outputs, place="test"), strict=True))


def largest_relative_difference(model, changed, batch):
    one, other = outputs(model, batch), outputs(changed, batch)
    assert list(one) == list(other)
    return max(np.abs(one[n] - other[n]).max() / np.abs(one[n]).max() for n in one)


def padded(make_model, rng, *, size=(16, 16), weights=None, bias=True, **attributes):
    w = rng.normal(size=(8, 3, 3, 3)).astype(np.float32) if weights is None else weights
    return make_model(
        [helper.make_node("Conv", ["x", "w", "b"] if bias else ["x", "w"], ["y"], "conv", **({"pads": [1] * 4} | attributes))],
        inputs={"x": [1, 3, *size]},
        outputs=["y"],
        weights={"w": w, **({"b": rng.normal(size=8).astype(np.float32)} if bias else {})},
    )  # fmt: skip


@pytest.fixture
def batch(rng):
    return {"x": rng.uniform(4, 6, (1, 3, 16, 16)).astype(np.float32)}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [0, 1, 2, 1]},
        {"strides": [2, 2]},
        {"dilations": [2, 2]},
        {"pads": [0] * 4},
        {"pads": None, "auto_pad": "SAME_UPPER"},
        {"pads": None, "auto_pad": "VALID"},
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_float_output_of_conv_is_unchanged(make_model, rng, batch, attributes, bias):
    model = padded(make_model, rng, bias=bias, **attributes)
    changed = recentre(model, {"x": 5.0})
    onnx.checker.check_model(changed, full_check=True)
    assert largest_relative_difference(model, changed, batch) < 1e-5
    # only what pads needs the map
    pads = attributes.get("pads", [1] * 4) or ([1] if attributes.get("auto_pad") == "SAME_UPPER" else [0])
    assert ("Add" in [node.op_type for node in changed.graph.node]) == any(pads)
    # the test can see a wrong map
    for tensor in changed.graph.initializer:
        if tensor.name in ("y_addend", "y_bias"):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(
                    onnx.numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name
                )
            )
    assert largest_relative_difference(model, changed, batch) > 1e-4


def test_float_output_of_matrix_products_is_unchanged(make_model, rng):
    w = {name: rng.normal(size=shape).astype(np.float32) for name, shape in {"a": (6, 5), "bt": (5, 6), "c": (5,), "m": (2, 6, 4), "left": (3, 4)}.items()}  # fmt: skip
    model = make_model(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Gemm", ["r", "a", "c"], ["g1"], alpha=0.5, beta=2.0),
            helper.make_node("Gemm", ["r", "bt"], ["g2"], transB=1),
            helper.make_node("MatMul", ["r", "a"], ["m1"]),
            helper.make_node("MatMul", ["r", "m"], ["m2"]),
            helper.make_node("MatMul", ["left", "r"], ["m3"]),
        ],
        inputs={"x": [4, 6]},
        outputs=["g1", "g2", "m1", "m2", "m3"],
        weights=w,
    )
    x = {"x": rng.normal(5, 1, (4, 6)).astype(np.float32)}
    changed = recentre(model, {"r": 5.0})
    onnx.checker.check_model(changed, full_check=True)
    assert largest_relative_difference(model, changed, x) < 1e-5
    assert sum(node.op_type == "Add" for node in changed.graph.node) == 3  # MatMul has no bias
    assert [n.op_type for n in changed.graph.node].index("Sub") == 1
    assert "c" in [t.name for t in model.graph.initializer]  # the model itself is as it was


def test_grouped_convolutions(make_model, rng):
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=3)],
        inputs={"x": [1, 3, 9, 7]},
        outputs=["y"],
        weights={"w": rng.normal(size=(6, 1, 3, 3)).astype(np.float32)},
    )
    x = {"x": rng.uniform(4, 6, (1, 3, 9, 7)).astype(np.float32)}
    assert largest_relative_difference(model, recentre(model, {"x": 5.0}), x) < 1e-5


def test_what_is_refused(make_model, rng):
    dynamic = padded(make_model, rng, size=("h", "w"))
    assert "it pads, and the height and width of its input are dynamic" in refusals(dynamic, ["x"])["x"]
    assert refusals(padded(make_model, rng, size=("h", "w"), pads=[0] * 4), ["x"])["x"] is None
    model = make_model(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Conv", ["r", "w"], ["y"]),
            helper.make_node("Add", ["r", "x"], ["z"]),
            helper.make_node("Conv", ["z", "w"], ["o"]),
            helper.make_node("MatMul", ["y", "o"], ["q"]),
        ],
        inputs={"x": [1, 3, 4, 4]},
        outputs=["q"],
        weights={"w": rng.normal(size=(3, 3, 1, 1)).astype(np.float32)},
    )
    assert "Add reads it" in refusals(model, ["r"])["r"]
    assert "the other operand is not constant" in refusals(model, ["y"])["y"]
    assert refusals(model, ["z"])["z"] is None
    assert "output of the model" in refusals(model, ["q"])["q"]
    assert "computes no such tensor" in refusals(model, ["w"])["w"]
    assert recentrable(model) == ("z",)
    with pytest.raises(QuantizationError, match="'r' cannot be recentred: Add → z: Add reads it"):
        recentre(model, {"r": 1.0})


def sqnr(model, quantized, batches):
    return evaluate(model, quantized, batches).sqnr_db


def test_int8_gains_10_db_before_a_padded_convolution(make_model, rng, tmp_path):
    """x in [4, 6] before pads = 1; TensorRT-RTX still multiplies in INT8."""
    model = padded(make_model, rng)
    data = [{"x": rng.uniform(4, 6, (1, 3, 16, 16)).astype(np.float32)} for _ in range(12)]
    fit, unseen = data[:8], data[8:]
    result = calibrate(model, fit, algorithm="minmax")
    plain = quantize(model, result.ranges, placement="tensorrt")
    made = corrected_by(model, result.ranges, result.histograms, fit, held_back=unseen, recentred=["x"])
    gain = sqnr(model, made.quantized.model, unseen) - sqnr(model, plain.model, unseen)
    assert gain >= 10
    assert made.corrections[0].text.startswith("recentred x by 5.0")
    assert "x_centred" in made.quantized.scales
    rtx = load("tensorrt_rtx")
    with BuildLog(tmp_path / "log") as log:
        build_explicit(made.quantized.model, tensorrt=rtx, log=log, target="sm89")
    nodes = {node.node: node.precision for node in PrecisionReport.from_log(tmp_path / "log").last.nodes}
    assert nodes["conv"] == "int8"


def test_padding_with_the_offset_would_not_do(make_model, rng):
    """The map is needed: −μ as padding is exact in float, and ruins INT8."""
    model = padded(make_model, rng)
    x = rng.uniform(4, 6, (1, 3, 16, 16)).astype(np.float32)
    changed = recentre(model, {"x": 5.0})
    ranges = Ranges({"x_centred": TensorRange(1.0, source="test")})
    good = sqnr(model, quantize(changed, ranges, placement="tensorrt").model, [{"x": x}])
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    wrong = make_model(
        [
            helper.make_node("Sub", ["x", "five"], ["x_centred"]),
            helper.make_node("Pad", ["x_centred", "widths", "minus"], ["p"]),
            helper.make_node("Conv", ["p", "w", "b"], ["y"], "conv"),
        ],
        inputs={"x": [1, 3, 16, 16]},
        outputs=["y"],
        weights={
            "w": weights["w"],
            "b": weights["b"] + 5 * weights["w"].sum(axis=(1, 2, 3)),
            "five": np.float32(5),
            "widths": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "minus": np.float32(-5),
        },
    )
    assert largest_relative_difference(model, wrong, {"x": x}) < 1e-5
    bad = sqnr(
        model,
        quantize(wrong, Ranges({"p": TensorRange(1.0, source="test")}), placement="tensorrt").model,
        [{"x": x}],
    )
    assert good > bad + 20


def test_relu_data_keeps_zero_exact(rng):
    from trt_int8.calibration import Histogram

    values = np.maximum(rng.normal(size=50_000), 0).astype(np.float32)
    offset = best_offset(Histogram.empty().add(values))
    assert offset.value / offset.scale == offset.steps
    scale, middle = np.float32(offset.scale), np.float32(offset.value)

    def through(x):
        return np.clip(np.rint((x - middle) / scale), -128, 127).astype(np.float32) * scale + middle

    assert through(np.float32(0)) == 0
    assert offset.steps in range(120, 129)
    error = through(values).astype(np.float64) - values
    found = 10 * np.log10((values.astype(np.float64) ** 2).sum() / (error**2).sum())
    assert found == pytest.approx(offset.sqnr_db, abs=0.1)


def test_it_is_left_alone_where_nothing_is_gained(make_model, rng):
    model = padded(make_model, rng)
    x = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)
    data = [{"x": x}, {"x": -x}]
    result = calibrate(model, data, algorithm="mse")
    made = corrected_by(model, result.ranges, result.histograms, data, held_back=data, recentred=["*"])
    assert len(made.corrections) == 1
    assert "so it was not kept" in made.corrections[0].text
    assert "x" in made.quantized.scales
    assert made.before == made.after
    assert made.passed_over == ("y: it is an output of the model",)


def test_a_wild_value_in_the_fit_does_not_move_the_middle(make_model, rng):
    """x in [4, 6], and one 200 in what the ranges are fitted to: percentile ranges pass it over, so must μ."""
    model = padded(make_model, rng)
    data = [{"x": rng.uniform(4, 6, (1, 3, 16, 16)).astype(np.float32)} for _ in range(60)]
    data[3]["x"][0, 0, 0, 0] = 200
    fit, held_back, unseen = data[:30], data[30:40], data[40:]
    for algorithm in ("percentile", "mse"):
        result = calibrate(model, fit, algorithm=algorithm)
        plain = quantize(model, result.ranges, placement="tensorrt")
        made = corrected_by(
            model, result.ranges, result.histograms, fit, held_back=held_back, recentred=["x"]
        )
        claimed = made.after.evaluated["y"] - made.before.evaluated["y"]
        gained = sqnr(model, made.quantized.model, unseen) - sqnr(model, plain.model, unseen)
        assert gained > 10, algorithm
        assert claimed == pytest.approx(gained, abs=1), algorithm


def test_a_gain_that_other_data_does_not_bear_out_is_no_gain(make_model, rng):
    """The offset is fitted to values in [4, 6]; the held-back ones are around zero."""
    model = padded(make_model, rng)
    fit = [{"x": rng.uniform(4, 6, (1, 3, 16, 16)).astype(np.float32)} for _ in range(8)]
    held_back = [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(8)]
    result = calibrate(model, fit)
    for other, kept in ((fit, True), (held_back, False)):
        made = corrected_by(model, result.ranges, result.histograms, fit, held_back=other, recentred=["x"])
        assert ("x_centred" in made.quantized.scales) == kept


def test_each_output_counts(make_model, rng):
    """Recentring is worth 10 dB to y; q, which is worse by far, knows nothing of it."""
    model = make_model(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
            helper.make_node("Pow", ["z", "seven"], ["p"], "pow"),
            helper.make_node("MatMul", ["p", "m"], ["q"], "matmul"),
        ],
        inputs={"x": [1, 3, 8, 8], "z": [1, 32]},
        outputs=["y", "q"],
        weights={
            "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
            "seven": np.float32(7),
            "m": rng.normal(size=(32, 8)).astype(np.float32),
        },
    )
    data = [
        {
            "x": rng.uniform(4, 6, (1, 3, 8, 8)).astype(np.float32),
            "z": rng.normal(size=(1, 32)).astype(np.float32),
        }
        for _ in range(40)
    ]
    fit, held_back = data[:30], data[30:]
    result = calibrate(model, fit)
    made = corrected_by(model, result.ranges, result.histograms, fit, held_back=held_back, recentred=["x"])
    assert made.before.evaluated["q"] < made.before.evaluated["y"]
    assert made.after.evaluated["y"] > made.before.evaluated["y"] + 10
    assert made.after.evaluated["q"] == made.before.evaluated["q"]
    gain = made.after.evaluated["y"] - made.before.evaluated["y"]
    assert made.corrections[0].text.endswith(f": y +{gain:.2f} dB, q +0.00 dB")


def test_zeros_beside_an_offset_are_values_too(rng):
    """Half of the values are 0, the others in [4, 6]: an offset that clips the zeros has no place."""
    from trt_int8.calibration import Histogram

    values = np.append(np.zeros(20_000), rng.uniform(4, 6, 20_000)).astype(np.float32)
    offset = best_offset(Histogram.empty().add(values))
    scale, middle = np.float32(offset.scale), np.float32(offset.value)
    through = np.clip(np.rint((values - middle) / scale), -128, 127) * scale + middle
    error = through.astype(np.float64) - values
    found = 10 * np.log10((values.astype(np.float64) ** 2).sum() / (error**2).sum())
    assert found == pytest.approx(offset.sqnr_db, abs=0.3)
    assert found > 50


def test_lenet(lenet_path, digits):
    """The gain on held-back digits holds on others; at the logits, since Softmax hides most of it."""
    model = onnx.load(lenet_path)
    images = [{"data": image[None]} for image in digits["calibration"][:100]]
    fit, held_back = images[:75], images[75:]
    unseen = [{"data": image[None]} for image in digits["evaluation"][:200]]
    result = calibrate(model, fit, algorithm="mse")
    made = corrected_by(
        model,
        result.ranges,
        result.histograms,
        fit,
        held_back=held_back,
        recentred=["*"],
        bias_correction=True,
    )
    claimed = made.after.evaluated["ip2"] - made.before.evaluated["ip2"]
    check = AccuracyCheck(model, unseen)
    plain = quantize(model, result.ranges, placement="tensorrt").model
    gained = check(made.quantized.model).evaluated["ip2"] - check(plain).evaluated["ip2"]
    assert claimed > 1.5
    assert gained == pytest.approx(claimed, abs=1)
    assert "conv1: pool1: MaxPool reads it, and only Conv, Gemm and MatMul may" in made.passed_over


def test_globs(make_model, rng):
    model = padded(make_model, rng)
    data = [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)}]
    result = calibrate(model, data)
    arguments = (model, result.ranges, result.histograms, data)
    with pytest.raises(QuantizationError, match="recentred='xx' matches no tensor; nearest names: x"):
        corrected_by(*arguments, held_back=data, recentred=["xx"])
    with pytest.raises(QuantizationError, match="'y' cannot be recentred: it is an output"):
        corrected_by(*arguments, held_back=data, recentred=["y"])

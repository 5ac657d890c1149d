"""Quantize: which pairs are inserted, with which scales; and the tensors that need a range for it."""

import numpy as np
import onnx
import pytest
from graphs import activation_scale, initializer, node, ranges, weight_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import networks
from onnx import helper

from trt_int8.calibration import calibrate
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization import PLACEMENTS, Selection, quantize, required_tensors

QDQ = ("QuantizeLinear", "DequantizeLinear")


@pytest.fixture(scope="module")
def lenet_qdq(lenet_path, digits):
    calibration = calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:50]])
    return calibration, quantize(lenet_path, calibration.ranges, placement="tensorrt")


def test_lenet(lenet_path, lenet_qdq):
    calibration, quantized = lenet_qdq
    assert quantized.nodes == ("conv1", "conv2", "ip1", "ip2")
    assert quantized.skipped == ()
    for name, tensor in {"conv1": "data", "conv2": "pool1", "ip1": "pool2_flat", "ip2": "ip1"}.items():
        assert activation_scale(quantized.model, name) == calibration.ranges[tensor].scale
        assert quantized.scales[tensor] == calibration.ranges[tensor].scale
    assert weight_of(quantized.model, "ip1")[2] == 0


def test_names_and_biases_survive(lenet_path, lenet_qdq):
    before, after = onnx.load(lenet_path), lenet_qdq[1].model
    assert [n.name for n in before.graph.node] == [n.name for n in after.graph.node if n.op_type not in QDQ]
    assert [list(n.output) for n in before.graph.node] == [
        list(n.output) for n in after.graph.node if n.op_type not in QDQ
    ]
    assert before.graph.input == after.graph.input
    assert before.graph.output == after.graph.output
    assert initializer(after, "conv1_bias").dtype == np.float32
    # float weights are gone
    assert not {"conv1_weight", "ip2_weight"} & {t.name for t in after.graph.initializer}


def test_the_input_model_is_not_changed(lenet_path, lenet_qdq):
    model = onnx.load(lenet_path)
    before = model.SerializeToString()
    quantize(model, lenet_qdq[0].ranges, placement="tensorrt")
    assert model.SerializeToString() == before


def test_lenet_keeps_its_accuracy(lenet_path, lenet_qdq, digits):
    batches = [{"data": image[None]} for image in digits["evaluation"][:300]]
    result = evaluate(lenet_path, lenet_qdq[1].model, batches, labels=digits["labels"][:300])
    assert result.outputs["prob"].sqnr_db > 30
    assert result.top1.agreement >= 0.99


def test_old_opsets_are_raised_to_13(make_model, rng):
    weights = rng.normal(size=(4, 5)).astype(np.float32)
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w", "c"], ["g"], name="n"),
            helper.make_node("Softmax", ["g"], ["y"], name="s", axis=1),
        ],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": weights, "c": np.zeros(5, np.float32)},
        opset=11,
    )
    quantized = quantize(model, ranges(x=2.0), placement="tensorrt").model
    assert quantized.opset_import[0].version == 13
    assert node(quantized, "n").output[0] == "g"
    batch = {"x": rng.uniform(-2, 2, (2, 4)).astype(np.float32)}
    assert evaluate(model, quantized, [batch]).outputs["y"].sqnr_db > 30


def test_newer_opsets_are_kept(make_model, rng):
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 5)).astype(np.float32)},
        opset=19,
    )
    assert quantize(model, ranges(x=1.0), placement="tensorrt").model.opset_import[0].version == 19


def test_names_already_taken_are_avoided(make_model, rng):
    model = make_model(
        [
            helper.make_node("Relu", ["x"], ["x_quantized"], name="x_Q"),
            helper.make_node("MatMul", ["x_quantized", "w"], ["m"], name="n1"),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="n2"),
        ],
        inputs={"x": [2, 4]},
        outputs=["y", "m"],
        weights={"w": rng.normal(size=(4, 5)).astype(np.float32)},
    )
    quantized = quantize(model, ranges(x=1.0, x_quantized=1.0), placement="tensorrt").model  # checked inside
    names = [n.name for n in quantized.graph.node]
    assert len(names) == len(set(names))
    assert node(quantized, "x_Q").op_type == "Relu"


def test_what_cannot_be_quantized(make_model, lenet_path, lenet_qdq):
    with pytest.raises(QuantizationError, match="holds Q/DQ nodes already"):
        quantize(lenet_qdq[1].model, lenet_qdq[0].ranges, placement="tensorrt")
    relu = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(QuantizationError, match="no Conv, ConvTranspose, Gemm or MatMul"):
        quantize(relu, ranges(x=1.0), placement="tensorrt")
    with pytest.raises(QuantizationError, match=r"another model \(model: data, .*; ranges: input\)"):
        quantize(lenet_path, ranges(input=1.0), placement="tensorrt")
    zeros = ranges(**dict.fromkeys(["data", "pool1", "pool2_flat", "ip1", "conv1", "pool2", "conv2"], 0.0))
    with pytest.raises(
        QuantizationError, match="no node can be quantized: conv1: tensor 'data' was always zero"
    ):
        quantize(lenet_path, zeros, placement="tensorrt")


def test_initializers_that_are_inputs_as_before_ir_4(make_model, rng):
    weights = rng.normal(size=(4, 5)).astype(np.float32)
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")],
        inputs={"x": [2, 4], "w": [4, 5]},
        outputs=["y"],
        weights={"w": weights},
        opset=13,
    )
    model.ir_version = 3
    onnx.checker.check_model(model)
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
    assert [value.name for value in quantized.graph.input] == ["x"]
    assert weight_of(quantized, "n")[2] == 1


@pytest.mark.parametrize(
    ("ranges", "fix"),
    [
        ("model.cache", r"ranges is a str; it must be Ranges: CalibrationCache.read\(path\)"),
        ({"data": 1.0}, r"ranges is a dict; it must be Ranges: Ranges\({name: TensorRange"),
        (None, "ranges is a NoneType; it must be Ranges"),
    ],
)
def test_what_are_no_ranges(lenet_path, ranges, fix):
    with pytest.raises(TypeError, match=fix):
        quantize(lenet_path, ranges, placement="tensorrt")


def test_tensors_required_of_lenet(lenet_path, digits):
    assert required_tensors(lenet_path, placement="tensorrt") == (
        "data",
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "pool2_flat",
        "ip1",
    )
    batches = [{"data": image[None]} for image in digits["calibration"][:40]]
    everything, some = (
        calibrate(lenet_path, batches, tensors=tensors).ranges
        for tensors in (None, required_tensors(lenet_path, placement="tensorrt"))
    )
    assert set(everything) - set(some) == {"ip1_pre", "ip2", "prob"}
    assert (
        quantize(lenet_path, some, placement="tensorrt").scales
        == quantize(lenet_path, everything, placement="tensorrt").scales
    )
    assert (
        quantize(lenet_path, some, placement="tensorrt").model
        == quantize(lenet_path, everything, placement="tensorrt").model
    )


def test_a_selection_needs_less(lenet_path):
    assert required_tensors(lenet_path, selection=Selection(nodes=("conv1",)), placement="tensorrt") == (
        "data",
    )


def test_nothing_to_quantize(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(QuantizationError, match="no node can be quantized: "):
        required_tensors(model, placement="tensorrt")


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.sampled_from(sorted(PLACEMENTS)), st.sampled_from([1.0, 0.0]))
def test_random_networks_get_the_same_scales(model, placement, gain):
    # gain 0: tensors that are always zero leave nodes in float, which changes what others share.
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    batches = [{"x": (rng.normal(size=shape) * gain).astype(np.float32)} for _ in range(2)]
    tensors = required_tensors(model, placement=placement)
    everything = calibrate(model, batches).ranges
    some = calibrate(model, batches, tensors=tensors).ranges
    assert len(some) < len(everything)
    found, expected = (outcome(model, ranges, placement) for ranges in (some, everything))
    assert found == expected


def outcome(model, ranges, placement):
    try:
        quantized = quantize(model, ranges, placement=placement)
    except QuantizationError as error:
        return str(error)
    return quantized.scales, quantized.model.SerializeToString(deterministic=True)

"""--high-precision fp16: the rest of the network in Half, INT8 as before."""

import numpy as np
import onnx
import pytest
from graphs import conv, initializer, op, ranges, weight
from onnx import TensorProto, helper, numpy_helper

from trt_int8.calibration import calibrate
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.graph.runtime import Session
from trt_int8.quantization import quantize, to_half
from trt_int8.report import PrecisionReport

C = 32


@pytest.fixture(scope="module")
def lenet_qdq(lenet_path, digits):
    calibration = calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:30]])
    return quantize(lenet_path, calibration.ranges, placement="tensorrt")


def report(model):
    log = BuildLog()
    build_explicit(model, tensorrt=load("tensorrt_rtx"), log=log)
    return PrecisionReport.from_lines(log.lines).last


@pytest.mark.parametrize(("scales", "opset"), [("fp32", 23), ("fp16", 19)])
def test_lenet_in_half(lenet_path, lenet_qdq, digits, scales, opset):
    model = to_half(lenet_qdq.model, scale_dtype=scales)
    assert model.opset_import[0].version == opset
    assert initializer(model, "conv1_bias").dtype == np.float16
    # inputs and outputs are what they were
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [
        TensorProto.FLOAT
    ] * 2
    kept = initializer(model, "pool1_scale")
    assert (
        kept == lenet_qdq.scales["pool1"]
        if scales == "fp32"
        else kept == np.float16(lenet_qdq.scales["pool1"])
    )
    assert kept.dtype == (np.float32 if scales == "fp32" else np.float16)
    assert np.array_equal(
        initializer(model, "ip1_weight_quantized"), initializer(lenet_qdq.model, "ip1_weight_quantized")
    )
    built = report(model)
    multiplying = {n.node: n.precision for n in built.nodes if n.node in ("conv1", "conv2", "ip1", "ip2")}
    assert multiplying == dict.fromkeys(["conv1", "conv2", "ip1", "ip2"], "int8")


def test_half_costs_little_accuracy(lenet_path, lenet_qdq, digits):
    model = to_half(lenet_qdq.model, scale_dtype="fp16")
    batches = [{"data": image[None]} for image in digits["evaluation"][:100]]
    assert evaluate(lenet_path, model, batches).outputs["prob"].sqnr_db > 30


def test_residual_tensors_are_half_and_fp16_scales_save_a_float_copy(make_model, rng):
    model = make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("Relu", "a", "r"),
            conv("r", "w2", "b", "conv2"),
            op("Sigmoid", "x", "s"),
            op("Add", "b s", "sum"),
            op("Relu", "sum", "t"),
            conv("t", "w3", "c", "conv3"),
            op("Add", "c sum", "sum2"),
            op("Softmax", "sum2", "p"),
            conv("p", "w1", "y", "conv4"),
        ],
        inputs={"x": [1, C, 16, 16]},
        outputs=["y"],
        weights={f"w{i}": weight(rng, C, C, 3, 3) for i in (1, 2, 3)},
    )
    amax = ranges(**dict.fromkeys(["x", "r", "t", "p"], 3.0))
    quantized = quantize(model, amax, placement="rtx").model
    half, full = {}, {}
    for scales in ("fp32", "fp16"):
        built = report(to_half(quantized, scale_dtype=scales))
        assert sum(n.precision == "int8" for n in built.nodes if n.node.startswith("conv")) == 4
        outputs = [t.dtype for layer in built.layers for t in layer.outputs]
        half[scales], full[scales] = outputs.count("fp16"), outputs.count("fp32")
    # x, sum, sum2 and what conv1 and conv4 make are Half in both; what the last quantize step reads only
    # with fp16 scales.
    assert half == {"fp32": 5, "fp16": 6}
    assert full["fp16"] == full["fp32"] - 1


def test_underflowing_scales_are_refused(lenet_qdq):
    small = onnx.ModelProto()
    small.CopyFrom(lenet_qdq.model)
    for tensor in small.graph.initializer:
        if tensor.name == "pool1_scale":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(1e-6), tensor.name))
    with pytest.raises(
        QuantizationError, match=r"1 scales underflow float16.*\(pool1_scale 1e-06\); use fp32 scales"
    ):
        to_half(small, scale_dtype="fp16")
    assert initializer(to_half(small, scale_dtype="fp32"), "pool1_scale") == np.float32(1e-6)


def test_constants_beyond_half_are_refused(make_model, rng):
    model = make_model(
        [op("MatMul", "x w", "a"), op("Mul", "a big", "y")],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "big": np.float32(1e6)},
    )
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
    with pytest.raises(QuantizationError, match="constant 'big' holds 1e\\+06, above the float16 maximum"):
        to_half(quantized)


def test_outputs_that_nothing_else_reads_may_be_beyond_half(make_model, rng):
    model = make_model(
        [op("MatMul", "x w", "y")], inputs={"x": [2, 4]}, outputs=["y"], weights={"w": weight(rng, 4, 4)}
    )
    values = {"big": np.float32([1e6, 1.1]), "made": np.float32([-1e6, 0.1]), "count": np.int64([7, 8])}
    for name in ("big", "count"):
        model.graph.initializer.append(numpy_helper.from_array(values[name], name))
    made = numpy_helper.from_array(values["made"], "value")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["made"], value=made))
    for name, value in values.items():
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.output.append(helper.make_tensor_value_info(name, element, [2]))
    half = to_half(quantize(model, ranges(x=1.0), placement="tensorrt").model)
    x = {"x": rng.normal(size=(2, 4)).astype(np.float32)}
    for name, result in zip(values, Session(half).run(x, list(values), place="x"), strict=True):
        assert result.dtype == values[name].dtype
        assert result.tobytes() == values[name].tobytes(), name


@pytest.mark.parametrize("scales", ["fp32", "fp16"])
def test_outputs_that_no_node_makes_keep_their_values(make_model, rng, scales):
    """Weights and inputs that are outputs as well: exact in float32, while nodes read them in Half."""
    values = {"w": weight(rng, C, C, 3, 3), "k": rng.normal(size=(C, 1, 1)).astype(np.float32)}
    model = make_model(
        [op("Relu", "x", "r"), conv("r", "w", "a", "a"), op("Mul", "a k", "y")],
        inputs={"x": [1, C, 8, 8]},
        outputs=["y"],
        weights=values,
    )
    for place, name, shape in ((0, "k", [C, 1, 1]), (2, "w", [C, C, 3, 3]), (3, "x", [1, C, 8, 8])):
        model.graph.output.insert(place, helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    quantized = quantize(model, ranges(r=3.0), placement="tensorrt").model
    half = to_half(quantized, scale_dtype=scales)
    assert [output.name for output in half.graph.output] == ["k", "y", "w", "x"]
    assert {output.type.tensor_type.elem_type for output in half.graph.output} == {TensorProto.FLOAT}
    (multiply,) = [node for node in half.graph.node if node.op_type == "Mul"]
    assert initializer(half, multiply.input[1]).dtype == np.float16
    x = {"x": rng.normal(size=(1, C, 8, 8)).astype(np.float32)}
    expected = {**values, **x}
    for name, result in zip(expected, Session(half).run(x, list(expected), place="x"), strict=True):
        assert result.tobytes() == expected[name].tobytes(), name
    assert evaluate(quantized, half, [x]).outputs["y"].sqnr_db > 50
    assert {layer.precision for layer in report(half).int8_layers} == {"int8"}


def test_unknown_scale_dtype(lenet_qdq):
    with pytest.raises(ValueError, match="scale_dtype is 'bf16'"):
        to_half(lenet_qdq.model, scale_dtype="bf16")


@pytest.mark.parametrize(("element", "opset"), [("float16", 17), ("float16", 23), ("bfloat16", 23)])
def test_models_that_are_half_already(make_model, rng, element, opset):
    import ml_dtypes

    dtype = np.dtype(element) if element == "float16" else np.dtype(ml_dtypes.bfloat16)
    onnx_type = TensorProto.FLOAT16 if element == "float16" else TensorProto.BFLOAT16
    w = weight(rng, C, C, 3, 3)
    model = make_model(
        [conv("x", "w1", "a", "conv1"), op("Relu", "a", "r"), conv("r", "w2", "y", "conv2")],
        inputs={"x": [1, C, 16, 16]},
        outputs=["y"],
        weights={"w1": w.astype(dtype), "w2": w.astype(dtype)},
        opset=opset,
        dtype=onnx_type,
    )
    result = quantize(model, ranges(x=3.0, r=3.0), placement="rtx")
    assert result.nodes == ("conv1", "conv2")
    wanted = np.dtype(np.float32) if opset == 23 else dtype
    assert initializer(result.model, "x_scale").dtype == wanted
    values = initializer(result.model, "w1_quantized") * initializer(result.model, "w1_scale").astype(
        np.float32
    ).reshape(-1, 1, 1, 1)
    assert np.abs(values - w).max() < np.abs(w).max() / 100
    built = report(result.model)
    assert {n.node: n.precision for n in built.nodes if n.op == "Conv"} == {"conv1": "int8", "conv2": "int8"}


def test_a_half_model_whose_scale_underflows_stays_float(make_model, rng):
    model = make_model(
        [op("MatMul", "x w", "a"), op("MatMul", "a w", "y")],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4).astype(np.float16)},
        dtype=TensorProto.FLOAT16,
    )
    result = quantize(model, ranges(x=1e-4, a=2.0), placement="tensorrt")
    assert result.nodes == ("y",)
    assert "scale 7.87402e-07 of tensor 'x' underflows float16" in result.skipped[0].reason


def test_a_half_model_of_opset_23_stays_as_it_is(make_model, rng):
    model = make_model(
        [op("MatMul", "x w", "y")],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4).astype(np.float16)},
        opset=23,
        dtype=TensorProto.FLOAT16,
    )
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
    half = to_half(quantized)
    assert list(half.graph.node) == list(quantized.graph.node)
    assert list(half.graph.initializer) == list(quantized.graph.initializer)

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trt_int8.calibration import calibrate
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange

QDQ = ("QuantizeLinear", "DequantizeLinear")


def ranges(**amax: float) -> Ranges:
    return Ranges({name: TensorRange(value, source="test") for name, value in amax.items()})


def producer(model, tensor):
    return next(node for node in model.graph.node if tensor in node.output)


def node(model, name):
    return next(node for node in model.graph.node if node.name == name)


def initializer(model, name):
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def weight_of(model, name, slot=1):
    """What a node reads as its weight: (int8 values, scales, axis)."""
    dequantize = producer(model, node(model, name).input[slot])
    assert dequantize.op_type == "DequantizeLinear"
    axis = next((a.i for a in dequantize.attribute if a.name == "axis"), None)
    values, scales, zero_points = (initializer(model, n) for n in dequantize.input)
    assert values.dtype == zero_points.dtype == np.int8
    assert not zero_points.any()
    assert zero_points.shape == scales.shape
    return values, scales, axis


def activation_scale(model, name, slot=0):
    """The scale of the Q/DQ pair in front of an input; None if it reads the float tensor."""
    dequantize = producer(model, node(model, name).input[slot])
    if dequantize.op_type != "DequantizeLinear":
        return None
    quantize_ = producer(model, dequantize.input[0])
    assert quantize_.op_type == "QuantizeLinear"
    assert list(quantize_.input[1:]) == list(dequantize.input[1:])
    return initializer(model, dequantize.input[1])


@pytest.fixture(scope="module")
def lenet_qdq(lenet_path, digits):
    calibration = calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:50]])
    return calibration, quantize(lenet_path, calibration.ranges)


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
    quantize(model, lenet_qdq[0].ranges)
    assert model.SerializeToString() == before


def test_lenet_keeps_its_accuracy(lenet_path, lenet_qdq, digits):
    batches = [{"data": image[None]} for image in digits["evaluation"][:300]]
    result = evaluate(lenet_path, lenet_qdq[1].model, batches, labels=digits["labels"][:300])
    assert result.outputs["prob"].sqnr_db > 30
    assert result.top1.agreement >= 0.99


@pytest.mark.parametrize(
    ("op", "shape", "x", "attributes", "axis"),
    [
        ("Conv", (6, 4, 3, 3), [1, 4, 8, 8], {}, 0),
        ("Conv", (8, 1, 3, 3), [1, 8, 8, 8], {"group": 8}, 0),
        ("Conv", (6, 4, 3), [1, 4, 8], {}, 0),
        ("ConvTranspose", (4, 6, 2, 2), [1, 4, 8, 8], {"strides": [2, 2]}, 1),
        ("Gemm", (4, 5), [2, 4], {}, 1),
        ("Gemm", (5, 4), [2, 4], {"transB": 1}, 0),
        ("Gemm", (4, 5), [4, 2], {"transA": 1}, 1),
        ("MatMul", (4, 5), [2, 4], {}, 1),
        ("MatMul", (4, 5), [3, 2, 4], {}, 1),
        ("MatMul", (3, 4, 5), [3, 2, 4], {}, None),
        ("MatMul", (4,), [2, 4], {}, None),
    ],
)
def test_weights_per_output_channel(make_model, rng, op, shape, x, attributes, axis):
    weights = rng.normal(size=shape).astype(np.float32)
    model = make_model(
        [helper.make_node(op, ["x", "w"], ["y"], name="n", **attributes)],
        inputs={"x": x},
        outputs=["y"],
        weights={"w": weights},
    )
    quantized = quantize(model, ranges(x=3.0)).model
    values, scales, found = weight_of(quantized, "n")
    assert found == axis
    shape_of_scales = np.ones(len(shape), int)
    if axis is not None:
        shape_of_scales[axis] = -1
        assert scales.shape == (shape[axis],)
    error = np.abs(values * scales.reshape(shape_of_scales) - weights)
    assert (error <= scales.reshape(shape_of_scales) * 0.5001).all()
    # every channel uses its whole range, which only the right axis gives
    others = tuple(i for i in range(len(shape)) if i != axis)
    assert (np.abs(values).max(axis=others if axis is not None else None) == 127).all()
    data = {"x": rng.uniform(-3, 3, size=x).astype(np.float32)}
    assert evaluate(model, quantized, [data]).outputs["y"].sqnr_db > 30


def test_a_constant_on_the_left_of_matmul(make_model, rng):
    model = make_model(
        [helper.make_node("MatMul", ["w", "x"], ["y"], name="n")],
        inputs={"x": [4, 3]},
        outputs=["y"],
        weights={"w": rng.normal(size=(5, 4)).astype(np.float32)},
    )
    quantized = quantize(model, ranges(x=1.0)).model
    assert weight_of(quantized, "n", slot=0)[2] == 0
    assert activation_scale(quantized, "n", slot=1) == np.float32(1 / 127)


def test_matmul_of_two_activations(make_model):
    model = make_model(
        [helper.make_node("MatMul", ["a", "b"], ["y"], name="n")],
        inputs={"a": [2, 3], "b": [3, 2]},
        outputs=["y"],
    )
    quantized = quantize(model, ranges(a=1.0, b=2.0)).model
    assert activation_scale(quantized, "n", 0) == np.float32(1 / 127)
    assert activation_scale(quantized, "n", 1) == np.float32(2 / 127)


def conv(x, w, y, name, **attributes):
    return helper.make_node("Conv", [x, w], [y], name=name, pads=[1, 1, 1, 1], **attributes)


@pytest.fixture
def w33(rng):
    return rng.normal(size=(4, 4, 3, 3)).astype(np.float32) / 6


RESIDUAL_AMAX = {"x": 3.0, "a": 4.0, "r": 4.0, "b": 5.0, "sum": 6.0, "y": 6.0, "n": 5.0, "d": 2.0}


def residual(make_model, w33, swap=False, norm=False, downsample=False):
    nodes = [conv("x", "w1", "a", "conv1"), helper.make_node("Relu", ["a"], ["r"], name="relu1")]
    if downsample:
        nodes.append(conv("x", "w3", "d", "conv3"))
    nodes.append(conv("r", "w2", "b", "conv2"))
    branch = "b"
    if norm:
        nodes.append(helper.make_node("BatchNormalization", ["b", "g", "h", "m", "v"], ["n"], name="bn"))
        branch = "n"
    identity = "d" if downsample else "x"
    operands = [branch, identity] if not swap else [identity, branch]
    nodes += [
        helper.make_node("Add", operands, ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["y"], name="relu2"),
    ]
    vector = np.ones(4, np.float32)
    weights = {"w1": w33, "w2": w33, "w3": w33, "g": vector, "h": vector, "m": vector, "v": vector}
    used = {name for n in nodes for name in n.input}
    return make_model(
        nodes,
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={k: v for k, v in weights.items() if k in used},
    )


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_only_the_residual_input_of_add_is_quantized(make_model, w33, swap, norm):
    quantized = quantize(residual(make_model, w33, swap, norm), ranges(**RESIDUAL_AMAX))
    assert quantized.nodes == ("conv1", "conv2", "add")
    identity, branch = (0, 1) if swap else (1, 0)
    assert activation_scale(quantized.model, "add", identity) == np.float32(3 / 127)
    assert activation_scale(quantized.model, "add", branch) is None
    # one Q/DQ pair for x, read by conv1 and the addition
    assert node(quantized.model, "conv1").input[0] == node(quantized.model, "add").input[identity]
    assert set(quantized.scales) == {"x", "r"}


def test_of_two_convolutions_the_later_one_fuses(make_model, w33):
    quantized = quantize(residual(make_model, w33, downsample=True), ranges(**RESIDUAL_AMAX))
    assert activation_scale(quantized.model, "add", 1) == np.float32(2 / 127)  # d, of the earlier conv3
    assert activation_scale(quantized.model, "add", 0) is None


def test_additions_without_a_convolution_stay_float(make_model, w33):
    model = make_model(
        [
            conv("x", "w", "a", "conv"),
            helper.make_node("Relu", ["a"], ["r"], name="relu"),
            helper.make_node("Add", ["r", "x"], ["y"], name="add"),
        ],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w": w33},
    )
    assert quantize(model, ranges(x=1.0, a=1.0, r=1.0)).nodes == ("conv",)


def test_one_scale_across_concat_and_max_pool(make_model, w33, rng):
    # x → pool → conv2; Concat(pool, conv1) → conv3: x, pool, c1 and cat form one group.
    model = make_model(
        [
            helper.make_node("MaxPool", ["x"], ["p"], name="pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            conv("x", "w", "c1", "conv1"),
            conv("p", "w", "c2", "conv2"),
            helper.make_node("Concat", ["p", "c1"], ["cat"], name="cat", axis=1),
            helper.make_node("Conv", ["cat", "w8"], ["c3"], name="conv3"),
            helper.make_node("Conv", ["c2", "w1"], ["y"], name="conv4"),
        ],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y", "c3"],
        weights={
            "w": w33,
            "w8": rng.normal(size=(2, 8, 1, 1)).astype(np.float32),
            "w1": rng.normal(size=(2, 4, 1, 1)).astype(np.float32),
        },
    )
    quantized = quantize(model, ranges(x=1.0, p=2.0, c1=7.0, cat=3.0, c2=0.5))
    assert {name: float(scale) for name, scale in quantized.scales.items()} == {
        "x": np.float32(7 / 127),
        "p": np.float32(7 / 127),
        "cat": np.float32(7 / 127),
        "c2": np.float32(0.5 / 127),
    }


def test_a_shared_weight_is_quantized_once_per_axis(make_model, rng):
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w"], ["a"], name="one"),
            helper.make_node("Gemm", ["x", "w"], ["b"], name="two"),
            helper.make_node("Gemm", ["a", "w"], ["c"], name="transposed", transB=1),
        ],
        inputs={"x": [2, 4]},
        outputs=["b", "c"],
        weights={"w": rng.normal(size=(4, 4)).astype(np.float32)},
    )
    model = quantize(model, ranges(x=1.0, a=1.0)).model
    assert node(model, "one").input[1] == node(model, "two").input[1] != node(model, "transposed").input[1]
    assert weight_of(model, "one")[2] == 1
    assert weight_of(model, "transposed")[2] == 0


def test_other_readers_of_a_weight_keep_the_float(make_model, rng):
    weights = rng.normal(size=(4, 4)).astype(np.float32)
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="n"),
            helper.make_node("Mul", ["a", "w"], ["y"], name="m"),
        ],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weights},
    )
    quantized = quantize(model, ranges(x=1.0)).model
    assert np.array_equal(initializer(quantized, "w"), weights)
    assert node(quantized, "m").input[1] == "w"


def test_weights_in_constant_nodes(make_model, rng):
    weights = rng.normal(size=(4, 4)).astype(np.float32)
    model = make_model(
        [
            helper.make_node("Constant", [], ["w"], name="const", value=numpy_helper.from_array(weights)),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
        ],
        inputs={"x": [4, 4]},
        outputs=["y"],
    )
    quantized = quantize(model, ranges(x=1.0)).model
    assert weight_of(quantized, "n")[2] == 1
    assert "Constant" not in {n.op_type for n in quantized.graph.node}


def test_a_dead_tensor_leaves_its_node_in_float(make_model, w33):
    model = make_model(
        [conv("x", "w1", "a", "conv1"), conv("a", "w2", "y", "conv2")],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w1": w33, "w2": w33},
    )
    quantized = quantize(model, ranges(x=1.0, a=0.0))
    assert quantized.nodes == ("conv1",)
    assert [str(entry) for entry in quantized.skipped] == ["conv2: tensor 'a' was always zero in calibration"]
    assert node(quantized.model, "conv2").input[1] == "w2"  # weights alone would only cost time
    for amax, reason in ((float("inf"), "range inf"), (1e-44, "has no float32 scale")):
        assert reason in str(quantize(model, ranges(x=1.0, a=amax)).skipped[0])
    assert "no range for tensor 'a'" in str(quantize(model, ranges(x=1.0)).skipped[0])


def test_a_zero_channel_gets_scale_one(make_model, w33):
    w33[2] = 0
    model = make_model(
        [conv("x", "w", "y", "n")], inputs={"x": [1, 4, 8, 8]}, outputs=["y"], weights={"w": w33}
    )
    values, scales, _ = weight_of(quantize(model, ranges(x=1.0)).model, "n")
    assert scales[2] == 1
    assert not values[2].any()
    assert (scales > 0).all()


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
    quantized = quantize(model, ranges(x=2.0)).model
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
    assert quantize(model, ranges(x=1.0)).model.opset_import[0].version == 19


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
    quantized = quantize(model, ranges(x=1.0, x_quantized=1.0)).model  # checked inside
    names = [n.name for n in quantized.graph.node]
    assert len(names) == len(set(names))
    assert node(quantized, "x_Q").op_type == "Relu"


def test_what_cannot_be_quantized(make_model, lenet_path, lenet_qdq):
    with pytest.raises(QuantizationError, match="holds Q/DQ nodes already"):
        quantize(lenet_qdq[1].model, lenet_qdq[0].ranges)
    relu = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(QuantizationError, match="no Conv, ConvTranspose, Gemm or MatMul"):
        quantize(relu, ranges(x=1.0))
    with pytest.raises(QuantizationError, match=r"another model \(wanted: data, .*; given: input\)"):
        quantize(lenet_path, ranges(input=1.0))
    zeros = ranges(**dict.fromkeys(["data", "pool1", "pool2_flat", "ip1", "conv1", "pool2", "conv2"], 0.0))
    with pytest.raises(
        QuantizationError, match="nothing can be quantized:\n  conv1: tensor 'data' was always zero"
    ):
        quantize(lenet_path, zeros)


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
    quantized = quantize(model, ranges(x=1.0)).model
    assert [value.name for value in quantized.graph.input] == ["x"]
    assert weight_of(quantized, "n")[2] == 1


def test_weights_in_constant_nodes_of_plain_numbers(make_model):
    model = make_model(
        [
            helper.make_node("Constant", [], ["w"], value_floats=[1.0, -2.0, 4.0]),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
        ],
        inputs={"x": [2, 3]},
        outputs=["y"],
    )
    assert weight_of(quantize(model, ranges(x=1.0)).model, "n")[0].tolist() == [32, -64, 127]


def test_a_concat_that_no_quantized_node_reads_shares_nothing(make_model, rng):
    # As at the end of a detector: large boxes beside small scores.
    model = make_model(
        [
            helper.make_node("Relu", ["x"], ["r"], name="relu"),
            helper.make_node("Conv", ["r", "w"], ["y"], name="conv"),
            helper.make_node("Mul", ["r", "k"], ["large"], name="mul"),
            helper.make_node("Concat", ["r", "large"], ["cat"], name="cat", axis=1),
        ],
        inputs={"x": [1, 4, 4, 4]},
        outputs=["y", "cat"],
        weights={"w": rng.normal(size=(4, 4, 1, 1)).astype(np.float32), "k": np.float32([1000])},
    )
    quantized = quantize(model, ranges(x=3.0, r=3.0, large=3000.0, cat=3000.0)).model
    assert activation_scale(quantized, "conv") == np.float32(3 / 127)
    batch = {"x": rng.normal(size=(1, 4, 4, 4)).astype(np.float32)}
    assert evaluate(model, quantized, [batch]).outputs["y"].sqnr_db > 35


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
        quantize(lenet_path, ranges)

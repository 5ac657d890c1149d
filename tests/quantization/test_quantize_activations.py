"""`quantize` and activations: where pairs go, and the scales they share."""

import numpy as np
import pytest
from graphs import activation_scale, conv, node, ranges
from onnx import helper

from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize

RESIDUAL_AMAX = {"x": 3.0, "a": 4.0, "r": 4.0, "b": 5.0, "sum": 6.0, "y": 6.0, "n": 5.0, "d": 2.0}


@pytest.fixture
def w33(rng):
    return rng.normal(size=(4, 4, 3, 3)).astype(np.float32) / 6


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


def test_matmul_of_two_activations(make_model):
    model = make_model(
        [helper.make_node("MatMul", ["a", "b"], ["y"], name="n")],
        inputs={"a": [2, 3], "b": [3, 2]},
        outputs=["y"],
    )
    quantized = quantize(model, ranges(a=1.0, b=2.0), placement="tensorrt").model
    assert activation_scale(quantized, "n", 0) == np.float32(1 / 127)
    assert activation_scale(quantized, "n", 1) == np.float32(2 / 127)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_only_the_residual_input_of_add_is_quantized(make_model, w33, swap, norm):
    quantized = quantize(residual(make_model, w33, swap, norm), ranges(**RESIDUAL_AMAX), placement="tensorrt")
    assert quantized.nodes == ("conv1", "conv2", "add")
    identity, branch = (0, 1) if swap else (1, 0)
    assert activation_scale(quantized.model, "add", identity) == np.float32(3 / 127)
    assert activation_scale(quantized.model, "add", branch) is None
    # one Q/DQ pair for x, read by conv1 and the addition
    assert node(quantized.model, "conv1").input[0] == node(quantized.model, "add").input[identity]
    assert set(quantized.scales) == {"x", "r"}


def test_of_two_convolutions_the_later_one_fuses(make_model, w33):
    quantized = quantize(
        residual(make_model, w33, downsample=True), ranges(**RESIDUAL_AMAX), placement="tensorrt"
    )
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
    assert quantize(model, ranges(x=1.0, a=1.0, r=1.0), placement="tensorrt").nodes == ("conv",)


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
    quantized = quantize(model, ranges(x=1.0, p=2.0, c1=7.0, cat=3.0, c2=0.5), placement="tensorrt")
    assert {name: float(scale) for name, scale in quantized.scales.items()} == {
        "x": np.float32(7 / 127),
        "p": np.float32(7 / 127),
        "cat": np.float32(7 / 127),
        "c2": np.float32(0.5 / 127),
    }


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
    quantized = quantize(model, ranges(x=3.0, r=3.0, large=3000.0, cat=3000.0), placement="tensorrt").model
    assert activation_scale(quantized, "conv") == np.float32(3 / 127)
    batch = {"x": rng.normal(size=(1, 4, 4, 4)).astype(np.float32)}
    assert evaluate(model, quantized, [batch]).outputs["y"].sqnr_db > 35


def test_a_dead_tensor_leaves_its_node_in_float(make_model, w33):
    model = make_model(
        [conv("x", "w1", "a", "conv1"), conv("a", "w2", "y", "conv2")],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w1": w33, "w2": w33},
    )
    quantized = quantize(model, ranges(x=1.0, a=0.0), placement="tensorrt")
    assert quantized.nodes == ("conv1",)
    assert [str(entry) for entry in quantized.skipped] == ["conv2: tensor 'a' was always zero in calibration"]
    assert node(quantized.model, "conv2").input[1] == "w2"  # weights alone would only cost time
    for amax, reason in ((float("inf"), "range inf"), (1e-44, "has no float32 scale")):
        assert reason in str(quantize(model, ranges(x=1.0, a=amax), placement="tensorrt").skipped[0])
    assert "no range for tensor 'a'" in str(quantize(model, ranges(x=1.0), placement="tensorrt").skipped[0])

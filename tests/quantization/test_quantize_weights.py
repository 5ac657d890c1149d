"""`quantize` and weights: one INT8 copy an axis, from initializers and Constant nodes."""

import numpy as np
import pytest
from graphs import activation_scale, conv, initializer, node, ranges, weight_of
from onnx import helper, numpy_helper

from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize


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
    quantized = quantize(model, ranges(x=3.0), placement="tensorrt").model
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
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
    assert weight_of(quantized, "n", slot=0)[2] == 0
    assert activation_scale(quantized, "n", slot=1) == np.float32(1 / 127)


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
    model = quantize(model, ranges(x=1.0, a=1.0), placement="tensorrt").model
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
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
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
    quantized = quantize(model, ranges(x=1.0), placement="tensorrt").model
    assert weight_of(quantized, "n")[2] == 1
    assert "Constant" not in {n.op_type for n in quantized.graph.node}


def test_weights_in_constant_nodes_of_plain_numbers(make_model):
    model = make_model(
        [
            helper.make_node("Constant", [], ["w"], value_floats=[1.0, -2.0, 4.0]),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="n"),
        ],
        inputs={"x": [2, 3]},
        outputs=["y"],
    )
    assert weight_of(quantize(model, ranges(x=1.0), placement="tensorrt").model, "n")[0].tolist() == [
        32,
        -64,
        127,
    ]


def test_a_zero_channel_gets_scale_one(make_model, rng):
    w33 = rng.normal(size=(4, 4, 3, 3)).astype(np.float32) / 6
    w33[2] = 0
    model = make_model(
        [conv("x", "w", "y", "n")], inputs={"x": [1, 4, 8, 8]}, outputs=["y"], weights={"w": w33}
    )
    values, scales, _ = weight_of(quantize(model, ranges(x=1.0), placement="tensorrt").model, "n")
    assert scales[2] == 1
    assert not values[2].any()
    assert (scales > 0).all()

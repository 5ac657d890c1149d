"""When nothing can be quantized, the error says why and what to do."""

import numpy as np
import pytest
from graphs import conv, op, ranges, weight
from onnx import TensorProto, helper

from trt_int8.errors import QuantizationError
from trt_int8.quantization import PLACEMENTS, quantize


def upscaling(make_model, rng):
    return make_model(
        [op("ConvTranspose", "x w", "a", strides=[2, 2]), op("Relu", "a", "y")],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4, 2, 2)},
    )


def test_a_placement_that_leaves_the_only_operator_out(make_model, rng):
    model = upscaling(make_model, rng)
    with pytest.raises(QuantizationError) as caught:
        quantize(model, ranges(x=1.0), placement="rtx")
    assert str(caught.value) == (
        "no node can be quantized: the model has only ConvTranspose to quantize, which placement 'rtx' leaves "
        "in float (guide; measured: never INT8 in TensorRT-RTX); use placement='tensorrt' if TensorRT itself "
        "builds the engine"
    )
    assert quantize(model, ranges(x=1.0), placement="tensorrt").nodes == ("a",)


def test_a_rule_switched_off(make_model, rng):
    placement = PLACEMENTS["tensorrt"].without("transposed-convolution")
    wanted = "without the rule 'transposed-convolution' ConvTranspose stays float; switch the rule on again"
    with pytest.raises(QuantizationError, match=wanted):
        quantize(upscaling(make_model, rng), ranges(x=1.0), placement=placement)


def test_no_operator_of_the_table(make_model):
    model = make_model([op("Relu", "x", "y")], inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(
        QuantizationError,
        match="no node can be quantized: the model has no Conv, ConvTranspose, Gemm or MatMul$",
    ):
        quantize(model, ranges(x=1.0), placement="tensorrt")


def test_operators_in_bodies_only(make_model, rng):
    def body(name):
        return helper.make_graph(
            [conv("x", "w", name, name)], name, [], [helper.make_tensor_value_info(name, 1, [1, 4, 8, 8])]
        )

    model = make_model(
        [helper.make_node("If", ["c"], ["y"], then_branch=body("a"), else_branch=body("b"))],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4, 3, 3), "c": np.array(True)},
    )
    with pytest.raises(
        QuantizationError, match=r"has Conv, .* only in bodies of If, Loop and Scan, which stay"
    ):
        quantize(model, ranges(x=1.0), placement="tensorrt")


def test_constant_operands_only(make_model, rng):
    model = make_model(
        [op("MatMul", "v w", "c"), op("Add", "x c", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"v": weight(rng, 4, 4), "w": weight(rng, 4, 4)},
    )
    with pytest.raises(
        QuantizationError, match="all operands of the Conv, .* nodes of the model are constant"
    ):
        quantize(model, ranges(x=1.0), placement="tensorrt")


def test_weights_of_a_type_that_is_not_quantized(make_model, rng):
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "gemm")],
        inputs={"x": ["n", 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 3))},
        dtype=TensorProto.DOUBLE,
    )
    with pytest.raises(QuantizationError, match="no node can be quantized: gemm: .*float64"):
        quantize(model, ranges(x=1.0, y=1.0), placement="tensorrt")

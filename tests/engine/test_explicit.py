"""The explicit route where networks are weakly typed, as in TensorRT 8.6, and where they are not."""

import enum

import fake_tensorrt
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_int8.engine.explicit import build_explicit, holds_float16
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.graph.load import load_model
from trt_int8.quantization import quantize
from trt_int8.quantization.half import to_half
from trt_int8.ranges import Ranges, TensorRange

FLAG = fake_tensorrt.BuilderFlag
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture
def weakly_typed(monkeypatch):
    """The flag of TensorRT 8.6; 10.0 to 10.16 have STRONGLY_TYPED too."""
    flags = enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0})
    monkeypatch.setattr(fake_tensorrt, "NetworkDefinitionCreationFlag", flags)


def build(model):
    """Creation flags of the network, and builder flags."""
    with BuildLog() as log:
        build_explicit(model, tensorrt=TensorRT(fake_tensorrt, "tensorrt"), log=log)
    network, config = fake_tensorrt.built[-1]
    return network._flags, config._flags


@pytest.fixture(scope="module")
def qdq(lenet_path):
    ranges = Ranges(
        {name: TensorRange(1.0, source="test") for name in ("data", "pool1", "pool2_flat", "ip1")}
    )
    full = quantize(lenet_path, ranges, placement="tensorrt").model
    return {"fp32": full, "fp16": to_half(full)}


@pytest.mark.usefixtures("weakly_typed")
class TestWeaklyTyped:
    def test_qdq_layers_need_the_int8_flag(self, qdq):
        assert build(qdq["fp32"]) == (1, {FLAG.INT8, FLAG.TF32})

    def test_float16_around_them_needs_the_fp16_flag(self, qdq):
        assert build(qdq["fp16"]) == (1, {FLAG.INT8, FLAG.FP16, FLAG.TF32})

    def test_a_float_model_gets_neither(self, lenet_path):
        assert build(load_model(lenet_path)) == (1, {FLAG.TF32})


def test_strongly_typed_networks_get_no_precision_flags(qdq):
    assert build(qdq["fp32"]) == (2, {FLAG.TF32})
    assert build(qdq["fp16"]) == (2, {FLAG.TF32})


def model(*nodes, inputs=FLOAT, outputs=FLOAT, constants=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", inputs, [1])], [value("y", outputs, [1])], constants)
    return helper.make_model(graph)


def half(name):
    return onnx.numpy_helper.from_array(np.ones(1, np.float16), name)


def body():
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=HALF),
        helper.make_node("Cast", ["h"], ["b"], to=FLOAT),
    ]
    return helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info("b", FLOAT, [1])])


IDENTITY = helper.make_node("Identity", ["x"], ["y"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (model(IDENTITY), False),
        (model(helper.make_node("Cast", ["x"], ["y"], to=FLOAT)), False),
        # 10 is the number of float16 among the types, and here a size
        (model(helper.make_node("Gather", ["x", "x"], ["y"], axis=int(HALF))), False),
        (model(IDENTITY, inputs=HALF), True),
        (model(IDENTITY, outputs=HALF), True),
        (model(IDENTITY, constants=[half("w")]), True),
        (model(helper.make_node("Constant", [], ["y"], value=half("c"))), True),
        (model(helper.make_node("Cast", ["x"], ["y"], to=HALF)), True),
        (model(helper.make_node("DequantizeLinear", ["x", "s"], ["y"], output_dtype=HALF)), True),
        (model(helper.make_node("If", ["c"], ["y"], then_branch=body(), else_branch=body())), True),
    ],
)
def test_where_float16_comes_from(given, expected):
    assert holds_float16(given) is expected

"""Q/DQ models before and after `fix_qdq`."""

import numpy as np
import pytest
from faults import CASES, PAIR, RNG, WEIGHT, C, X, build, conv, dq, int8_nodes, q
from graphs import op
from onnx import TensorProto, numpy_helper

from trt_int8.evaluation import evaluate
from trt_int8.quantization.check import check_qdq, fix_qdq

DEAD = [q("x", "xq", "s0"), dq("xq", "xd", "s0")]


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ([*DEAD, *WEIGHT, conv("xd", "wd", "y")], ["Conv"]),
        # The other reader of the weight keeps it in INT8.
        (
            [*PAIR, *WEIGHT, conv("xd", "wd", "a"), q("a", "aq", "s0"), dq("aq", "ad", "s0"), conv("ad", "wd", "y")],
            ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Conv"],
        ),
        ([*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td"), op("MatMul", "xd td", "y")], ["Relu", "MatMul"]),
        (
            [*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td"),
             op("Transpose", "td", "tt", perm=[0, 1, 3, 2]), op("MatMul", "xd tt", "y")],
            ["Relu", "Transpose", "MatMul"],
        ),
        ([*DEAD, *WEIGHT, op("MaxPool", "xd", "p", kernel_shape=[1, 1]), conv("p", "wd", "y")], ["MaxPool", "Conv"]),
    ],
    ids=["weight", "shared weight", "two activations", "moved", "max-pool"],
)  # fmt: skip
def test_what_reads_a_dead_activation_is_left_in_float_whole(nodes, left, tensorrt):
    model = build(nodes, s0=np.float32(0))
    finding = next(f for f in check_qdq(model) if f.rule == "scale")
    assert finding.message == "its scale is 0"
    checked = fix_qdq(model)
    assert checked.left == ()
    assert [n.op_type for n in checked.model.graph.node] == left
    live = fix_qdq(build(nodes, s0=np.float32(0.03))).model  # what it computes where the scale is sound
    batches = [{"x": np.random.default_rng(1).normal(size=X).astype(np.float32)}]
    assert evaluate(live, checked.model, batches).outputs["y"].sqnr_db > 25
    int8_nodes(checked.model, tensorrt)


def test_a_moved_tensor_that_is_an_output_stays_quantized():
    nodes = [
        *[*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td")],
        *[op("Transpose", "td", "tt", perm=[0, 1, 3, 2]), op("MatMul", "xd tt", "y")],
    ]
    checked = fix_qdq(build(nodes, s0=np.float32(0), outputs="y tt"))
    assert checked.model.graph.node[3].input[0] == "td"
    assert [f.rule for f in checked.left] == ["missing-pair"]


def test_an_activation_without_a_pair_is_not_taken_for_a_dead_one():
    model = build(
        [*DEAD, *WEIGHT, conv("xd", "wd", "a"), op("Relu", "a", "r"), conv("r", "wd", "y")], s0=np.float32(0)
    )
    checked = fix_qdq(model)
    (finding,) = checked.left
    assert (finding.rule, finding.node, finding.fixable) == ("missing-pair", "y", False)
    assert "calibrated" in finding.repair


def test_a_bias_becomes_float_in_the_type_of_its_network():
    model = build(
        [*PAIR, *WEIGHT, op("Cast", "xd", "h", to=TensorProto.FLOAT16), op("Cast", "wd", "wh", to=TensorProto.FLOAT16),
         dq("b", "bd", "bs", "", output_dtype=TensorProto.FLOAT16), conv("h", "wh", "c", "bd"),
         op("Cast", "c", "y", to=TensorProto.FLOAT)],
        opset=23, b=np.arange(C, dtype=np.int32), bs=np.float32(0.01),
    )  # fmt: skip
    checked = fix_qdq(model)
    (bias,) = [t for t in checked.model.graph.initializer if t.name == "bd_float"]
    assert np.array_equal(numpy_helper.to_array(bias), (np.arange(C) * 0.01).astype(np.float16))


def test_uint8_around_128_keeps_its_scale_bit_for_bit():
    (scale,) = {
        float(numpy_helper.to_array(t))
        for t in fix_qdq(CASES["symmetric-int8"][0]()).model.graph.initializer
        if t.name.startswith("s") and not t.dims
    }
    assert scale == np.float32(0.03)


def test_a_relu_that_a_zero_point_implied_comes_back():
    # Quantizers drop Relu before codes that start at 0.
    nodes = [
        *PAIR,
        *WEIGHT,
        conv("xd", "wd", "a"),
        q("a", "aq", z="u"),
        dq("aq", "ad", z="u"),
        conv("ad", "wd", "y"),
    ]
    model = build(nodes, u=np.uint8(0))
    repaired = fix_qdq(model).model
    quantizer = next(n for n in repaired.graph.node if n.name == "aq_node")
    relu = next(n for n in repaired.graph.node if n.output[0] == quantizer.input[0])
    assert relu.op_type == "Relu"
    batches = [{"x": RNG.uniform(-3, 3, X).astype(np.float32)} for _ in range(3)]
    assert evaluate(model, repaired, batches).outputs["y"].sqnr_db > 30

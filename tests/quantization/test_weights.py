"""Weights in unusual places, and what is folded into them."""

import numpy as np
import pytest
from graphs import conv, has_pair, initializer, node, op, producer, ranges, scale, weight
from onnx import numpy_helper
from rules import norm_model

from trt_int8.calibration import calibrate
from trt_int8.evaluation import evaluate
from trt_int8.graph.index import GraphIndex
from trt_int8.graph.passes.batch_norm_folding import foldable_norm
from trt_int8.quantization import PLACEMENTS, quantize

C = 4
X = {"x": [1, C, 8, 8]}


def test_folding_computes_the_same(make_model, rng):
    model = norm_model(make_model, rng)  # a negative factor among them
    batches = [{"x": rng.normal(size=(1, C, 8, 8)).astype(np.float32)} for _ in range(4)]
    found = calibrate(model, batches, algorithm="minmax").ranges
    result = quantize(model, found, placement="tensorrt").model
    # The int8 weights of conv1 are those of the folded weights; conv2, which shares the float ones, has its own.
    w, g, v = (numpy_helper.to_array(t) for t in model.graph.initializer if t.name in ("w1", "g", "v"))
    folded = w * (g / np.sqrt(v + np.float32(1e-5))).reshape(-1, 1, 1, 1)
    names = [producer(result, node(result, name).input[1]).input for name in ("conv1", "conv2")]
    values, scales = (initializer(result, name).astype(np.float32) for name in names[0][:2])
    assert np.abs(values * scales.reshape(-1, 1, 1, 1) - folded).max() <= scales.max() * 0.5001
    assert np.abs(initializer(result, names[1][0])).max() == 127
    assert evaluate(model, result, batches).outputs["y"].sqnr_db > 30
    assert not {"g", "h", "m", "v", "a"} & set(GraphIndex(result).names)


def test_a_bias_is_folded_too(make_model, rng):
    vectors = {name: rng.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmvb"}
    w = weight(rng, C, C, 3, 3)
    model = make_model(
        [
            op("Conv", "x w b", "a", "conv", pads=[1] * 4),
            op("BatchNormalization", "a g h m v", "y", epsilon=0.1),
        ],
        inputs=X,
        outputs=["y"],
        weights={"w": w, **vectors},
    )
    result = quantize(model, ranges(x=3.0), placement="tensorrt").model
    expected = (vectors["b"] - vectors["m"]) * vectors["g"] / np.sqrt(vectors["v"] + 0.1) + vectors["h"]
    assert np.allclose(initializer(result, node(result, "conv").input[2]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "why", ["second reader", "output", "training", "computed weight", "not a conv", "float conv"]
)
def test_folding_is_left_where_it_is_not_exact(make_model, rng, why):
    vectors = {name: rng.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmv"}
    nodes = [
        conv("x", "w", "a", "conv"),
        op("BatchNormalization", "a g h m v", "n", "bn"),
        op("Relu", "n", "y"),
    ]
    outputs, weights = ["y"], {"w": weight(rng, C, C, 3, 3), **vectors}
    if why == "second reader":
        nodes.append(op("Sigmoid", "a", "z"))
        outputs.append("z")
    if why == "output":
        outputs.append("a")
    if why == "computed weight":
        nodes.insert(0, op("Sigmoid", "x", "gg"))
        nodes.insert(1, op("ReduceMean", "gg", "g", axes=[0, 2, 3], keepdims=0))
        del weights["g"]
    if why == "not a conv":
        nodes[0] = op("ConvTranspose", "x w", "a", "conv", pads=[1] * 4)
    if why == "training":
        nodes[1].output.extend(["rm", "rv"])
        nodes[1].attribute.add(name="training_mode", i=1, type=2)
    model = make_model(nodes, inputs=X, outputs=outputs, weights=weights)
    if why == "float conv":
        extra = make_model([*nodes, conv("y", "w", "z", "conv2")], inputs=X, outputs=["z"], weights=weights)
        result = quantize(extra, ranges(y=1.0), placement="tensorrt")
        assert result.nodes == ("conv2",)
    else:
        result = quantize(model, ranges(x=3.0), placement="tensorrt")
        assert result.nodes == ("conv",)
        if why != "not a conv":
            assert (
                foldable_norm(next(n for n in model.graph.node if n.name == "conv"), GraphIndex(model))
                is None
            )
    assert "BatchNormalization" in {n.op_type for n in result.model.graph.node}


@pytest.mark.parametrize(("name", "value"), [("training_mode", 1), ("spatial", 0)])
def test_batch_norm_in_another_mode_is_not_folded(make_model, rng, name, value):
    model = norm_model(make_model, rng)
    convolution = next(n for n in model.graph.node if n.name == "conv1")
    assert foldable_norm(convolution, GraphIndex(model)).name == "bn"
    next(n for n in model.graph.node if n.name == "bn").attribute.add(name=name, i=value, type=2)
    assert foldable_norm(convolution, GraphIndex(model)) is None


def test_weights_behind_rearranging_nodes(make_model, rng):
    w = weight(rng, 5, 4)
    model = make_model(
        [
            op("Constant", "", "w0", value=numpy_helper.from_array(w)),
            op("Transpose", "w0", "wt", perm=[1, 0]),
            op("Identity", "wt", "wi"),
            op("MatMul", "x wi", "y"),
        ],
        inputs={"x": [3, 4]},
        outputs=["y"],
    )
    result = quantize(model, ranges(x=2.0), placement="tensorrt").model
    assert scale(result, "y", 1).shape == (5,)
    assert np.allclose(scale(result, "y", 1), np.abs(w).max(1) / 127)
    assert {n.op_type for n in result.graph.node} == {"QuantizeLinear", "DequantizeLinear", "MatMul"}
    data = {"x": rng.uniform(-2, 2, (3, 4)).astype(np.float32)}
    assert evaluate(model, result, [data]).outputs["y"].sqnr_db > 30


def test_one_pair_for_a_tensor_that_a_node_reads_twice(make_model, rng):
    model = make_model(
        [op("MatMul", "x x", "a"), op("Add", "a a", "b"), op("MatMul", "b w", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4)},
    )
    for placement in PLACEMENTS.values():
        result = quantize(model, ranges(x=1.0, a=2.0, b=4.0), placement=placement).model
        assert node(result, "a").input[0] == node(result, "a").input[1] == "x_dequantized"
        assert sum(n.op_type == "QuantizeLinear" and n.input[0] == "x" for n in result.graph.node) == 1
        assert len(set(node(result, "b").input)) == 1


def test_pairs_stand_before_their_first_reader_in_the_graph(make_model, rng):
    # The Add, placed last by its rule, reads x before the convolution does.
    model = make_model(
        [
            op("Sigmoid", "x", "s"),
            op("Add", "x s", "sum"),
            conv("sum", "w", "a", "conv1"),
            conv("x", "w", "y", "conv2"),
        ],
        inputs=X,
        outputs=["a", "y"],
        weights={"w": weight(rng, C, C, 3, 3)},
    )
    for placement in PLACEMENTS.values():
        result = quantize(model, ranges(x=1.0, s=1.0, sum=2.0), placement=placement).model  # checked inside
        assert has_pair(result, "sum", 0)


def test_a_group_of_which_one_tensor_is_quantized_keeps_its_range(make_model, rng):
    model = make_model(
        [
            conv("x", "w", "a", "conv"),
            op("Concat", "x a", "y", axis=1),
        ],
        inputs=X,
        outputs=["y"],
        weights={"w": weight(rng, C, C, 3, 3)},
    )
    assert quantize(model, ranges(x=1.0, a=50.0, y=50.0), placement="tensorrt").scales == {
        "x": np.float32(1 / 127)
    }

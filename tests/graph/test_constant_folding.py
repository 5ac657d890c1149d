"""What depends on no input is computed beforehand, if it is small."""

import numpy as np
import pytest
from graphs import initializer, op
from onnx import TensorProto

from trt_int8.graph.passes import constant_folding
from trt_int8.graph.passes.constant_folding import LARGEST, fold_constants
from trt_int8.graph.runtime import Session


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.fixture
def scaled(make_model):
    """x divided by the square root of its last size."""

    def make(width):
        return make_model(
            [
                op("Shape", "x", "shape"),
                op("Gather", "shape last", "width", axis=0),
                op("Cast", "width", "number", to=TensorProto.FLOAT),
                op("Sqrt", "number", "root"),
                op("Div", "x root", "y"),
            ],
            inputs={"x": [3, width]},
            outputs=["y"],
            weights={"last": np.int64(-1)},
        )

    return make


def test_static_shapes_are_constants(scaled, rng):
    model = scaled(9)
    x = {"x": rng.normal(size=(3, 9)).astype(np.float32)}
    (expected,) = Session(model).run(x, ["y"], place="here")
    assert fold_constants(model)
    assert not fold_constants(model)
    assert operators(model) == ["Div"]
    assert initializer(model, "root") == 3
    assert [tensor.name for tensor in model.graph.initializer] == ["root"]
    np.testing.assert_array_equal(Session(model).run(x, ["y"], place="here")[0], expected)


def test_dynamic_shapes_are_not(scaled):
    model = scaled("width")
    assert not fold_constants(model)
    assert operators(model) == ["Shape", "Gather", "Cast", "Sqrt", "Div"]


def test_large_results_and_outputs_stay(make_model):
    model = make_model(
        [
            op("Expand", "one large", "wide"),
            op("Add", "x wide", "y"),
            op("Neg", "one", "minus"),
            op("RandomUniform", "", "r", shape=[1]),
        ],
        inputs={"x": [LARGEST + 1]},
        outputs=["y", "minus", "r"],
        weights={"one": np.array([1], np.float32), "large": np.array([LARGEST + 1])},
    )
    fold_constants(model)
    assert operators(model) == ["Expand", "Add", "Neg", "RandomUniform"]
    smaller = make_model(
        [op("Expand", "one large", "wide"), op("Add", "x wide", "y")],
        inputs={"x": [LARGEST]},
        outputs=["y"],
        weights={"one": np.array([1], np.float32), "large": np.array([LARGEST])},
    )
    fold_constants(smaller)
    assert operators(smaller) == ["Add"]
    np.testing.assert_array_equal(initializer(smaller, "wide"), np.ones(LARGEST, np.float32))


def test_weights_stay_quantized(make_model, rng):
    scale, zero = np.float32(0.1), np.int8(0)
    model = make_model(
        [op("DequantizeLinear", "w scale zero", "d"), op("Mul", "x d", "y")],
        inputs={"x": [4]},
        outputs=["y"],
        weights={"w": np.ones(4, np.int8), "scale": scale, "zero": zero},
    )
    fold_constants(model)
    assert operators(model) == ["DequantizeLinear", "Mul"]


def test_what_is_random_is_no_constant(make_model):
    weights = {"one": np.ones(4, np.float32), "half": np.float32(0.5), "yes": np.array(True)}
    nodes = [
        op("RandomNormalLike", "one", "a"),
        op("RandomUniformLike", "one", "b"),
        op("Dropout", "one half yes", "c"),
        op("Sum", "x a b c", "y"),
    ]
    model = make_model(nodes, inputs={"x": [4]}, outputs=["y"], weights=weights)
    fold_constants(model)
    assert operators(model) == [node.op_type for node in nodes]


@pytest.mark.filterwarnings("error")
def test_infinite_constants_are_folded_in_silence(make_model):
    nodes = [op("Log", "zero", "low"), op("Add", "x low", "y")]
    model = make_model(nodes, inputs={"x": [1]}, outputs=["y"], weights={"zero": np.zeros(1, np.float32)})
    fold_constants(model)
    assert operators(model) == ["Add"]
    assert initializer(model, "low") == -np.inf


def test_a_size_of_zero_is_not_static(scaled):
    """Some exporters write 0 for what is dynamic, and so batches of any size are taken there."""
    model = scaled(0)
    assert not fold_constants(model)
    assert operators(model) == ["Shape", "Gather", "Cast", "Sqrt", "Div"]


@pytest.mark.parametrize("fill", [op("ConstantOfShape", "huge", "f"), op("Expand", "one huge", "f")])
def test_large_results_are_not_even_computed(make_model, fill, monkeypatch):
    weights = {"huge": np.array([30000, 30000]), "one": np.ones(1, np.float32), "first": np.array([0])}
    nodes = [fill, op("Gather", "f first", "row"), op("Add", "x row", "y")]
    model = make_model(nodes, inputs={"x": [1]}, outputs=["y"], weights=weights)
    evaluated = []
    monkeypatch.setattr(constant_folding, "evaluate_node", lambda node, *_: evaluated.append(node))
    fold_constants(model)
    assert evaluated == []
    assert operators(model) == [fill.op_type, "Gather", "Add"]

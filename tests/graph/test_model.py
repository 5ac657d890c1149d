"""A model is read, checked and indexed once, and handed on."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_int8 import calibrate, check_qdq, migrate, quantize
from trt_int8.errors import ModelError
from trt_int8.graph import GraphIndex, Model
from trt_int8.graph.index import Names
from trt_int8.quantization.quantized import required_tensors
from trt_int8.ranges import CalibrationCache


@pytest.fixture
def counted(monkeypatch):
    """Count indexed graphs and checked models: ``{"index": [protos' graphs], "check": n}``."""
    calls = {"index": [], "check": 0}
    index, check = GraphIndex.__init__, onnx.checker.check_model

    def init(self, model):
        calls["index"].append(model.graph)
        index(self, model)

    def check_model(*arguments, **options):
        calls["check"] += 1
        check(*arguments, **options)

    monkeypatch.setattr(GraphIndex, "__init__", init)
    monkeypatch.setattr(onnx.checker, "check_model", check_model)
    return calls


def test_what_a_record_says(lenet_path):
    model = Model.of(str(lenet_path))
    assert model.path == lenet_path
    assert model.proto == onnx.load(lenet_path)
    assert {name: spec.shape[1:] for name, spec in model.inputs.items()} == {"data": (1, 28, 28)}
    assert model.opset == next(e.version for e in model.proto.opset_import if not e.domain)
    assert model.element_types["conv1"] == TensorProto.FLOAT
    assert model.index.producers["conv1"].op_type == "Conv"
    assert (model.has_qdq, model.holds_half) == (False, False)
    assert Model.of(model) is model
    assert Model.unchecked(model) is model


def test_of_a_proto(make_model):
    half = make_model(
        [helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [2]}, outputs=["y"], dtype=TensorProto.FLOAT16
    )
    model = Model.of(half)
    assert model.proto is half
    assert model.path is None
    assert model.holds_half
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.path = "elsewhere"


def test_a_model_that_does_not_pass_the_checker(make_model):
    broken = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [2]}, outputs=["y"])
    broken.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match=r"rejected by onnx\.checker"):
        Model.of(broken)
    assert Model.unchecked(broken).proto is broken
    with pytest.raises(ModelError, match="no such file"):
        Model.of("gone.onnx")


def test_one_record_gives_what_files_give(lenet_path, digits):
    batches = [{"data": image[None]} for image in digits["calibration"][:8]]
    model = Model.of(lenet_path)
    ranges = calibrate(model, batches).ranges
    assert ranges == calibrate(lenet_path, batches).ranges
    assert required_tensors(model) == required_tensors(lenet_path)
    assert set(required_tensors(model)) > {"data", "pool1", "pool2_flat", "ip1"}
    made = quantize(model, ranges)
    assert made.model == quantize(lenet_path, ranges).model
    cache = CalibrationCache.from_ranges(ranges)
    assert migrate(model, cache).model == migrate(lenet_path, cache).model
    assert check_qdq(Model.of(made.model)) == check_qdq(made.model) == []
    assert model.proto == onnx.load(lenet_path)


def test_the_float_model_is_checked_and_indexed_once(lenet_path, digits, counted):
    model = Model.of(lenet_path)
    tensors = required_tensors(model)
    batches = [{"data": image[None]} for image in digits["calibration"][:8]]
    ranges = calibrate(model, batches, tensors=tensors).ranges
    quantize(model, ranges)
    assert [graph is model.index.graph for graph in counted["index"]].count(True) == 1
    assert counted["check"] == 2  # it, and its Q/DQ form


def test_names_are_given_once(make_model):
    model = make_model(
        [helper.make_node("Add", ["x", "a_2"], ["a"], name="plus")],
        inputs={"x": [1]},
        outputs=["a"],
        weights={"a_2": np.ones(1, np.float32)},
    )
    names = Names(GraphIndex(model))
    assert [names.fresh(name) for name in ("a", "a", "b", "b", "plus", "x")] == [
        "a_3",
        "a_4",
        "b",
        "b_2",
        "plus_2",
        "x_2",
    ]

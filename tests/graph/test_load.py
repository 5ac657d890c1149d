from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import trt_int8
from trt_int8.errors import ModelError, OutputError
from trt_int8.graph import input_specs, load_model, save_model
from trt_int8.graph.inputs import fixed_batch


def test_inputs_of_the_sample(lenet_path):
    specs = input_specs(load_model(lenet_path))
    assert str(specs["data"]) == "data: float32 [1, 1, 28, 28]"
    assert fixed_batch(specs) == 1


def test_dynamic_and_unnamed_dimensions(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["n", 3]}, outputs=["y"])
    dim = model.graph.input[0].type.tensor_type.shape.dim.add()
    assert not dim.dim_param
    spec = input_specs(model)["x"]
    assert spec.shape == ("n", 3, "?")
    assert spec.batch is None
    assert fixed_batch({"x": spec}) is None


def test_initializers_listed_as_inputs_are_not_fed(make_model):
    model = make_model(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        inputs={"x": [1], "b": [1]},
        outputs=["y"],
        weights={"b": np.ones(1, np.float32)},
    )
    assert list(input_specs(model)) == ["x"]


def test_inputs_with_different_batches(make_model):
    model = make_model(
        [helper.make_node("MatMul", ["a", "b"], ["y"])], inputs={"a": [2, 3], "b": [3, 2]}, outputs=["y"]
    )
    with pytest.raises(ModelError, match=r"different sizes on axis 0 \(a 2, b 3\)"):
        fixed_batch(input_specs(model))


def test_external_data_is_loaded_whatever_the_file_is_called(lenet_path, tmp_path):
    model = onnx.load(lenet_path)
    onnx.save(
        model, tmp_path / "m.weights.model", save_as_external_data=True, location="w.bin", format="protobuf"
    )
    loaded = load_model(tmp_path / "m.weights.model")
    assert loaded.graph.initializer[0].raw_data == onnx.load(lenet_path).graph.initializer[0].raw_data
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"m\.weights\.model: its external weights cannot be read"):
        load_model(tmp_path / "m.weights.model")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has no ONNX graph \(0 nodes\)"),
        (b"\x08\x08", r"has no ONNX graph \(0 nodes\)"),
        (b"not a model at all, just text\n" * 10, "not an ONNX file, or a damaged one|has no ONNX graph"),
        ("cut", "not an ONNX file, or a damaged one"),
        ("unchecked", r"rejected by onnx\.checker: .*NoSuchOperator"),
    ],
)
def test_damaged_files(tmp_path, lenet_path, content, message):
    path = tmp_path / "bad.onnx"
    if content == "cut":
        content = lenet_path.read_bytes()[:5000]
    elif content == "unchecked":
        model = onnx.load(lenet_path)
        model.graph.node[0].op_type = "NoSuchOperator"
        content = model.SerializeToString()
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_folder(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is a folder, not an ONNX file"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (5, r"the model is 5 \(int\); give the path of an ONNX file or a ModelProto"),
        (None, r"the model is None \(NoneType\); give the path"),
        (b"\x08\x08", "given as bytes; give onnx.load_model_from_string"),
        (SimpleNamespace(model=onnx.ModelProto()), "the model is a SimpleNamespace; give its .model"),
    ],
)
def test_what_is_no_model(model, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        load_model(model)
    with pytest.raises(ModelError, match=message):
        trt_int8.build_engine(model, tmp_path / "e.engine", batches=[])


def test_a_model_that_takes_texts():
    text = helper.make_tensor_value_info("words", TensorProto.STRING, ["n"])
    graph = helper.make_graph([helper.make_node("Identity", ["words"], ["y"])], "g", [text], [text])
    with pytest.raises(
        ModelError, match="input 'words' has type string, which TensorRT does not support; remove"
    ):
        input_specs(helper.make_model(graph))


def test_a_model_without_inputs():
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value_float=1.0)],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    with pytest.raises(ModelError, match="has no input"):
        input_specs(helper.make_model(graph))


def test_save_leaves_the_old_file_on_failure(tmp_path, lenet_path):
    with pytest.raises(OutputError, match=r"the folder .*gone does not exist"):
        save_model(onnx.load(lenet_path), tmp_path / "gone" / "m.onnx")

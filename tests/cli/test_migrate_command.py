"""``trt-int8 migrate``, ``cache from-qdq`` and ``check-qdq``: models and caches from elsewhere."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_int8.record import read_record

TEXT = (
    "TRT-6001-EntropyCalibration2\ndata: 3c008912\npool1: 3c88edfc\npool2: 3ddc858b\nip1: 3db6bd6e\nold: 0\n"
)


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "c").write_text(TEXT)
    return tmp_path / "c"


def test_there_and_back(run, lenet_path, cache, tmp_path):
    out = run("migrate", lenet_path, cache, "-o", tmp_path / "q.onnx")
    assert "ip1    Gemm  ?         int8      pool2_flat 3ddc858b" in out
    assert "4 of 4 nodes in INT8" in out
    assert "in the cache and not in the model:\n  old" in out
    assert "5 tensors" in run("cache", "from-qdq", tmp_path / "q.onnx", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_text() == TEXT


def test_the_loss_is_measured_where_there_are_samples(run, lenet_path, cache, tmp_path, digits):
    np.savez(tmp_path / "d.npz", data=digits["calibration"][:64])
    base = ["migrate", lenet_path, cache, "--target", "tensorrt"]
    out = run(*base, "-o", tmp_path / "q.onnx")
    assert "accuracy is not known: SQNR was not measured, as that needs samples" in out
    assert "--limit" in run(*base, "-o", tmp_path / "no.onnx", "--limit", "3", code=2)
    out = run(*base, "-o", tmp_path / "r.onnx", "--data", tmp_path / "d.npz")
    (figure,) = re.findall(r"^SQNR on 16 samples: prob (\d+\.\d\d dB)$", out, re.MULTILINE)
    found = run("evaluate", lenet_path, tmp_path / "r.onnx", "--data", tmp_path / "d.npz")
    assert f"on the 16 samples of the model's record: prob {figure}\n" in found
    plain, measured = (onnx.load(tmp_path / name) for name in ("q.onnx", "r.onnx"))
    record = read_record(measured)
    assert (record.target, record.placement.split(" ")[0]) == ("tensorrt", "tensorrt")
    assert plain.graph == measured.graph  # samples change nothing


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "model.onnx",
            b"\x08\x08",
            "by its name it is an ONNX model, which goes to trt-int8 report --model",
        ),
        ("x.cache", b"\xff\x00garbage", "it has no line of TensorRT"),
        ("x", TEXT.encode(), "it is a calibration cache, which goes to trt-int8 report --cache"),
    ],
)
def test_what_is_no_log(run, lenet_path, cache, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    base = ["migrate", lenet_path, cache, "-o", tmp_path / "q.onnx"]
    out = run(*base, "--log", tmp_path / name, code=1)
    assert words in out
    assert "give the verbose log of a build" in out


def test_layer_information_is_as_good_as_a_log(run, lenet_path, cache, tmp_path):
    int8, half = "Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP16 format"
    layers = [
        {
            "Name": name,
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": x, "Format/Datatype": form}],
            "Outputs": [{"Name": y, "Format/Datatype": form}],
        }
        for name, x, y, form in [("conv1", "data", "conv1", int8), ("conv2", "pool1", "conv2", half)]
    ]
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": layers, "Bindings": ["data"]}))
    base = ["migrate", lenet_path, cache, "-o", tmp_path / "q.onnx"]
    out = run(*base, "--log", tmp_path / "layers.json")
    assert "conv1  Conv  int8       int8" in out
    assert "conv2  Conv  fp16       float " in out
    assert "1 of 4 nodes in INT8; 2 differ from the implicit build, 2 of them are not in its log" in out


def test_the_rest_in_half(run, lenet_path, cache, tmp_path):
    base = ["migrate", lenet_path, cache, "-o", tmp_path / "q.onnx"]
    assert "give --high-precision fp16 as well" in run(*base, "--scale-dtype", "fp16", code=1)
    assert not (tmp_path / "q.onnx").exists()
    assert "note:" not in run(*base, "--high-precision", "fp16")
    out = run(*base, "--high-precision", "fp16", "--scale-dtype", "fp16")
    assert "note: 4 of 4 scales are rounded to float16, by up to 0.00" in out
    types = {t.name: t.data_type for t in onnx.load(tmp_path / "q.onnx").graph.initializer}
    assert types["data_scale"] == types["conv1_bias"] == TensorProto.FLOAT16


def test_bodies_left_alone_are_named_as_quantize_names_them(run, tmp_path, rng):
    def body(name):
        return helper.make_graph(
            [helper.make_node("Relu", ["a"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4])],
        )

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "fc"),
        helper.make_node("If", ["c"], ["y"], "choice", then_branch=body("p"), else_branch=body("q")),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4]) for n in "xy")
    weights = [
        numpy_helper.from_array(np.asarray(v), n)
        for n, v in {"w": rng.normal(size=(4, 4)).astype(np.float32), "c": np.array(True)}.items()
    ]
    graph = helper.make_graph(nodes, "choice", [x], [y], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    (tmp_path / "c").write_text("TRT-8601-EntropyCalibration2\nx: 3c008912\n")
    note = "note: choice: the body of If stays float"
    base = [tmp_path / "m.onnx", "-o", tmp_path / "q.onnx"]
    assert note in run("quantize", *base, "--cache", tmp_path / "c")
    assert note in run("migrate", base[0], tmp_path / "c", *base[1:])


def test_check_qdq(run, lenet_path, data, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    assert run("check-qdq", tmp_path / "q.onnx") == "0 findings\n"
    model = onnx.load(tmp_path / "q.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "data_zero_point":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.uint8(128), tensor.name))
    onnx.save(model, tmp_path / "bad.onnx")
    out = run("check-qdq", tmp_path / "bad.onnx", code=1)
    assert "refused: data_Q: its type is UINT8" in out
    assert "[symmetric-int8]" in out
    found = json.loads(run("check-qdq", tmp_path / "bad.onnx", "--format", "json", code=1))
    assert {entry["node"] for entry in found["findings"]} == {"data_Q", "data_DQ"}
    out = run("check-qdq", tmp_path / "bad.onnx", "--fix", "-o", tmp_path / "good.onnx")
    assert "fixed: data_Q: " in out
    assert "0 findings, 2 fixed" in out
    run("build", tmp_path / "good.onnx", "-o", tmp_path / "e")
    assert "--fix and -o FILE go together" in run("check-qdq", tmp_path / "bad.onnx", "--fix", code=2)


def test_migration_and_mending_overwrite_nothing_they_read(run, data, lenet_path, tmp_path):
    model, cache = Path(shutil.copy(lenet_path, tmp_path)), tmp_path / "c.cache"
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", cache)
    before = {path: path.read_bytes() for path in (model, cache)}
    assert "would overwrite the model" in run("migrate", model, cache, "-o", model, code=1)
    assert "would overwrite the cache" in run("migrate", model, cache, "-o", cache, code=1)
    assert "would overwrite the model" in run("check-qdq", model, "--fix", "-o", model, code=1)
    assert {path: path.read_bytes() for path in before} == before

"""``trt-int8 quantize``."""

import re

import numpy as np
import onnx

import trt_int8


def test_qdq_nodes_get_the_ranges_with_the_least_squared_error(run, data, lenet_path, tmp_path):
    scales = {}
    for algorithm in (None, "mse", "entropy"):
        path = tmp_path / f"{algorithm}.onnx"
        chosen = [] if algorithm is None else ["--algorithm", algorithm]
        run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", path, *chosen)
        scales[algorithm] = {
            tensor.name: onnx.numpy_helper.to_array(tensor).tolist()
            for tensor in onnx.load(path).graph.initializer
            if "scale" in tensor.name
        }
    assert scales[None] == scales["mse"]
    assert scales[None] != scales["entropy"]
    # build inserts the same ones
    images = np.load(data / "calibration.npz")["data"]
    built = trt_int8.build_engine(
        lenet_path, tmp_path / "e.engine", batches=[{"data": image[None]} for image in images]
    )
    again = trt_int8.quantize(
        lenet_path, built.calibration.histograms.ranges(algorithm="mse"), placement="rtx"
    )
    assert built.quantized.scales == again.scales


def test_dead_tensors_are_listed(run, data, lenet_path, tmp_path):
    (tmp_path / "c").write_text(
        "TRT-8601-EntropyCalibration2\ndata: 3c008912\npool1: 0\nconv1: 0\nip1: 3f800000\n"
    )
    out = run("quantize", lenet_path, "--cache", tmp_path / "c", "-o", tmp_path / "q.onnx")
    assert "not quantized: conv2: tensor 'pool1' was always zero in calibration" in out
    assert "not quantized: ip1: no range for tensor 'pool2_flat'" in out
    assert "2 nodes quantized, 2 left in float" in out


def test_quantize_options_reach_the_work(run, lenet_path, tmp_path):
    cache = tmp_path / "c"
    names = ["data", "pool1", "pool2_flat", "ip1"]
    cache.write_text("TRT-8601-EntropyCalibration2\n" + "".join(f"{n}: 3c008912\n" for n in names))
    (tmp_path / "plan.yaml").write_text("schema: 1\nnodes: {ip2: float}\n")
    base = ["quantize", lenet_path, "--cache", cache, "-o", tmp_path / "q.onnx"]
    out = run(
        *base,
        "--placement",
        "rtx",
        "--op-types",
        "Conv,Gemm",
        "--exclude",
        "conv1",
        "--plan",
        tmp_path / "plan.yaml",
    )
    assert "not quantized: conv1: excluded by --exclude conv1" in out
    assert "not quantized: ip2: float in the precision plan" in out
    assert "2 nodes quantized, 2 left in float" in out
    assert "1 nodes quantized" in run(*base, "--nodes", "conv1")
    assert "2 nodes quantized" in run(*base, "--without", "gemm")
    assert "give both, or leave --scale-dtype out" in run(*base, "--scale-dtype", "fp16", code=2)
    run(*base, "--high-precision", "fp16", "--scale-dtype", "fp16")
    halves = [
        t for t in onnx.load(tmp_path / "q.onnx").graph.initializer if t.data_type == onnx.TensorProto.FLOAT16
    ]
    assert {"conv1_bias", "data_scale"} <= {t.name for t in halves}


def test_external_weights_of_the_model_are_kept(run, data, lenet_path, tmp_path):
    onnx.save(onnx.load(lenet_path), tmp_path / "m.onnx", save_as_external_data=True, location="q.onnx.data")
    before = (tmp_path / "q.onnx.data").read_bytes()
    out = run(
        "quantize", tmp_path / "m.onnx", "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx", code=1
    )
    assert re.search(r"q.onnx would overwrite .*q.onnx.data, which has weights of the model .*m.onnx; ", out)
    assert (tmp_path / "q.onnx.data").read_bytes() == before
    assert not (tmp_path / "q.onnx").exists()

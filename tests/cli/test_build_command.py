"""``trt-int8 build``."""

import numpy as np
import onnx


def test_the_algorithm_reaches_quantize_and_build(run, data, lenet_path, tmp_path):
    def data_scale(path):
        model = onnx.load(path)
        return next(
            float(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer if t.name == "data_scale"
        )

    found = {}
    for algorithm in ("minmax", "percentile"):
        run(
            "quantize",
            lenet_path,
            "--data",
            data / "calibration.npz",
            "-o",
            tmp_path / "q.onnx",
            "--algorithm",
            algorithm,
        )
        found[algorithm] = data_scale(tmp_path / "q.onnx")
        run(
            "build",
            lenet_path,
            "--data",
            data / "calibration.npz",
            "-o",
            tmp_path / algorithm,
            "--algorithm",
            algorithm,
            "--log",
            tmp_path / "l.log",
        )
    assert found["minmax"] == np.float32(255 / 256 / 127)
    assert found["percentile"] < found["minmax"]
    assert (tmp_path / "minmax").read_bytes() != (tmp_path / "percentile").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.log", "minmax", "percentile", "q.onnx"]


def test_a_refused_build_keeps_the_old_engine_and_names_the_log(run, lenet_path, tmp_path, data):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    model = onnx.load(tmp_path / "q.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "data_zero_point":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.uint8(128), tensor.name))
    onnx.save(model, tmp_path / "q.onnx")
    (tmp_path / "e.engine").write_bytes(b"precious")
    output = run("build", tmp_path / "q.onnx", "-o", tmp_path / "e.engine", code=1)
    assert "cannot parse the model" in output
    assert "shiftIsAllZeros" in output
    assert f"whole log: {tmp_path / 'e.engine.log.failed'}" in output
    assert (tmp_path / "e.engine").read_bytes() == b"precious"

import re

import numpy as np
import onnx
import pytest
from onnx import helper

from trt_int8.ranges import CalibrationCache
from trt_int8.record import read_record


@pytest.fixture
def run(run, tmp_path, monkeypatch, digits):
    """In a folder with data."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", data=digits["calibration"][:24])
    np.savez(tmp_path / "one.npz", data=digits["calibration"][:1])
    return run


def test_recentring_and_bias_correction_are_listed(run, lenet_path):
    out = run(
        "quantize",
        lenet_path,
        "--data",
        "d.npz",
        "-o",
        "q.onnx",
        "--recentre",
        "*",
        "--bias-correction",
        "--algorithm",
        "entropy",
    )
    assert re.search(r"^recentred pool1 by \S+: ip2 [+-]\d+\.\d\d dB", out, re.M)
    assert re.search(r"^biases corrected with 18 samples, evaluated on 6 others: ip2 [+-]", out, re.M)
    assert re.search(r"^SQNR on 6 held-back samples: prob \S+ dB \(\S+ before \d corrections\)$", out, re.M)
    assert "not recentred: tensor conv1: pool1: MaxPool reads it, and only Conv, Gemm and MatMul may" in out
    names = {node.name for node in onnx.load("q.onnx").graph.node}
    assert any(name.endswith("_centred_Q") for name in names)


def test_the_commands_that_flags_name_exist(run, lenet_path):
    """What `ranges analyze` advises, run as printed."""
    run("calibrate", lenet_path, "--data", "d.npz", "-o", "CACHE", "--histograms", "h.npz")
    advice = [
        line.split(": ", 2)[2]
        for line in run("ranges", "analyze", "h.npz").splitlines()
        if ": trt-int8 " in line
    ]
    assert any("--recentre" in command for command in advice)
    assert any("do not allow recentring" in command for command in advice)
    for command in advice:
        words = command.split("#")[0].replace("MODEL ", f"{lenet_path} ").replace("DATA", "d.npz").split()
        run(*words[1:])
    run("cache", "set", "CACHE", "--unset", "conv1", "-o", "NEW_CACHE")
    assert "conv1" not in CalibrationCache.read("NEW_CACHE").scales


@pytest.fixture
def padded(tmp_path, make_model, rng):
    """A convolution that pads, of any batch size, height and width; 20 samples around 5."""
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)],
        inputs={"x": ["n", 3, "h", "w"]},
        outputs=["y"],
        weights={"w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32)},
    )
    onnx.save(model, tmp_path / "padded.onnx")
    np.savez(tmp_path / "around5.npz", x=rng.uniform(4, 6, (20, 3, 8, 8)).astype(np.float32))
    return "padded.onnx"


def test_what_is_passed_over_is_listed(run, padded):
    out = run("quantize", padded, "--data", "around5.npz", "-o", "q.onnx", "--recentre", "*")
    why = "conv: it pads, and the height and width of its input are dynamic; fix them"
    assert f"not recentred: tensor x: {why}" in out
    assert "not recentred: tensor y: it is an output of the model" in out


def test_batches_are_cut_for_a_few_samples(run, padded):
    """Recentring cuts 20 samples into batches of one; else the last quarter of each batch is held back."""
    command = ("quantize", padded, "--data", "around5.npz", "-o", "q.onnx")
    run(*command, "--recentre", "*")
    assert read_record(onnx.load("q.onnx")).held_back == ((1, 2), (5, 6), (9, 10), (13, 14), (17, 18))
    assert "biases corrected with 15 samples, evaluated on 5 others: y " in run(*command)
    assert read_record(onnx.load("q.onnx")).held_back == ((6, 8), (14, 16), (19, 20))
    assert "biases" not in run(*command, "--no-bias-correction")


def test_auto_cuts_batches_too(run, padded):
    """6 samples would be one batch, and nothing to hold back."""
    out = run("calibrate", padded, "--data", "around5.npz", "--algorithm", "auto", "-o", "c", "--limit", 6)
    assert "2 tensors from 6 samples (auto)" in out


def test_auto_cuts_batches_alike_for_every_command(run, padded):
    """But to no fewer samples than the profile takes."""
    common = ("--data", "around5.npz", "--algorithm", "auto", "--shapes", "x:2x3x8x8,4x3x8x8,8x3x8x8")
    run("quantize", padded, *common, "-o", "q.onnx")
    assert read_record(onnx.load("q.onnx")).held_back == ((4, 8),)
    run("build", padded, *common, "-o", "e", "--qdq", "built.onnx")
    assert read_record(onnx.load("built.onnx")).held_back == ((4, 8),)
    run("sensitivity", padded, *common)
    run("quantize", padded, *common, "-o", "q.onnx", "--limit", 6)
    record = read_record(onnx.load("q.onnx"))
    assert (record.held_back, record.unseen) == (((0, 2), (2, 4), (4, 6)), False)


def test_a_generator_is_called_for_each_reading(run, padded, tmp_path):
    (tmp_path / "made.py").write_text(
        "import numpy as np\n\n\ndef batches():\n"
        "    for x in np.load('around5.npz')['x']:\n        yield x[None]\n"
    )
    out = run("quantize", padded, "--data", "made.py:batches", "-o", "q.onnx")
    assert "biases corrected with 15 samples, evaluated on 5 others" in out
    out = run("quantize", padded, "--data", "made.py:batches", "-o", "q.onnx", "--recentre", "*")
    assert "SQNR on 5 held-back samples: y " in out
    assert "all in INT8" in run("sensitivity", padded, "--data", "made.py:batches")


def test_a_single_batch_is_divided(run, padded, tmp_path):
    (tmp_path / "made.py").write_text(
        "import numpy as np\n\n\ndef batches():\n    return [np.load('around5.npz')['x']]\n"
    )
    out = run("quantize", padded, "--data", "made.py:batches", "-o", "q.onnx", "--recentre", "*")
    assert "biases corrected with 15 samples, evaluated on 5 others" in out
    assert read_record(onnx.load("q.onnx")).held_back == ((15, 20),)


def test_auto_is_a_method(run, lenet_path):
    assert "10 tensors from 24 samples (auto)" in run(
        "calibrate", lenet_path, "--data", "d.npz", "--algorithm", "auto", "-o", "c"
    )
    assert CalibrationCache.read("c").header == "TRT-8601-EntropyCalibration2"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cache", "c", "--bias-correction"], 2, "--bias-correction needs samples: give --data"),
        (["--cache", "c", "--recentre", "*"], 2, "--recentre is for calibration, and --cache holds ranges; leave one out"),
        (["--data", "d.npz", "--recentre", "nothing"], 1, "--recentre nothing matches no tensor"),
        (["--data", "d.npz", "--recentre", "conv1"], 1, "'conv1' cannot be recentred: pool1: MaxPool reads it"),
        (["--data", "one.npz", "--algorithm", "auto"], 1, "--algorithm auto needs at least two batches"),
    ],
)  # fmt: skip
def test_mistakes(run, lenet_path, tmp_path, arguments, code, message):
    (tmp_path / "c").write_text("TRT-8601-EntropyCalibration2\ndata: 3c008912\n")
    (tmp_path / "old").write_bytes(b"precious")
    out = run("quantize", lenet_path, *arguments, "-o", "old", code=code)
    assert message in out
    assert (tmp_path / "old").read_bytes() == b"precious"

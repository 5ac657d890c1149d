import numpy as np
import onnx
import pytest

from trt_int8.ranges import CalibrationCache


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
    assert "recentred pool1 by" in out
    assert "bias correction: " in out
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
    assert any("rules recentring out" in command for command in advice)
    for command in advice:
        words = command.split("#")[0].replace("MODEL ", f"{lenet_path} ").replace("DATA", "d.npz").split()
        run(*words[1:])
    run("cache", "set", "CACHE", "--unset", "conv1", "-o", "NEW_CACHE")
    assert "conv1" not in CalibrationCache.read("NEW_CACHE").scales


def test_auto_is_a_method(run, lenet_path):
    assert "10 tensors from 24 samples (auto)" in run(
        "calibrate", lenet_path, "--data", "d.npz", "--method", "auto", "-o", "c"
    )
    assert CalibrationCache.read("c").header == "TRT-8601-EntropyCalibration2"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cache", "c", "--recentre", "*"], 2, "--recentre and --bias-correction measure what they gain: give --data"),
        (["--data", "d.npz", "--recentre", "nothing"], 1, "--recentre 'nothing' fits no tensor"),
        (["--data", "d.npz", "--recentre", "conv1"], 1, "'conv1' cannot be recentred: pool1: MaxPool reads it"),
        (["--data", "one.npz", "--method", "auto"], 1, "the data is a single batch; make batches smaller"),
    ],
)  # fmt: skip
def test_mistakes(run, lenet_path, tmp_path, arguments, code, message):
    (tmp_path / "c").write_text("TRT-8601-EntropyCalibration2\ndata: 3c008912\n")
    (tmp_path / "old").write_bytes(b"precious")
    out = run("quantize", lenet_path, *arguments, "-o", "old", code=code)
    assert message in out
    assert (tmp_path / "old").read_bytes() == b"precious"

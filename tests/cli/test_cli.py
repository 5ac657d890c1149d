"""All commands: the chain through several of them, their help, how they are started."""

import json
import re
import subprocess
import sys

import pytest

import trt_int8
from trt_int8.cli import main


def test_the_whole_chain(run, data, lenet_path, tmp_path):
    out = run(
        "build",
        lenet_path,
        "--data",
        data / "calibration.npz",
        "-o",
        tmp_path / "lenet.engine",
        "--target",
        "sm89",
    )
    lines = out.splitlines()
    assert lines[0] == "target: rtx:sm89"
    assert lines[1].startswith("route: explicit (target rtx:sm89 is built ahead of time, ")
    assert "4 of 4 Conv, Gemm and MatMul nodes run in INT8" in out
    assert (tmp_path / "lenet.engine").stat().st_size > 100_000
    report = json.loads(run("report", tmp_path / "lenet.engine.log", "--format", "json"))
    assert report["schema"] == 1
    assert report["builds"][0]["summary"]["int8_layers"] == 4


@pytest.mark.parametrize("source", ["data", "cache", "both"])
def test_quantize_makes_the_model_that_build_builds(run, data, lenet_path, tmp_path, monkeypatch, source):
    """Byte for byte, and with one figure, which evaluate confirms."""
    monkeypatch.chdir(tmp_path)
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", "lenet.cache")
    samples, cache = ["--data", data / "calibration.npz"], ["--cache", "lenet.cache"]
    sources = {"data": samples, "cache": cache, "both": [*cache, *samples]}[source]
    quantized = run("quantize", lenet_path, *sources, "-o", "a.onnx")
    assert "4 nodes quantized, 0 left in float" in quantized
    built = run("build", lenet_path, *sources, "-o", "b.engine", "--qdq", "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert "Q/DQ model: b.onnx" in built
    again = run("build", "a.onnx", "-o", "a.engine")
    if source == "cache":
        for out in (quantized, built, again):
            assert "accuracy is not known: biases were not corrected" in out
        assert (
            "note: with a cache alone, biases are not corrected and the loss is not measured: add --data SAMPLES"
            in quantized
        )
        return
    (figure,) = re.findall(r"^SQNR on 8 held-back samples: prob (\d+\.\d\d dB)", quantized, re.MULTILINE)
    assert f"SQNR on 8 held-back samples: prob {figure}" in built
    assert f"recorded when the model was quantized: SQNR on 8 held-back samples: prob {figure}" in again
    found = run("evaluate", lenet_path, "b.onnx", *samples)
    assert f"on the 8 samples held back from quantization: prob {figure}\n" in found
    others = run("evaluate", lenet_path, "b.onnx", "--data", data / "evaluation.npz")
    assert "held back" not in others


def test_a_cache_is_shown(run, data, lenet_path, tmp_path):
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "lenet.cache")
    assert "ip1" in run("cache", "show", tmp_path / "lenet.cache")
    shown = json.loads(run("cache", "show", tmp_path / "lenet.cache", "--format", "json"))
    ranges = trt_int8.CalibrationCache.read(tmp_path / "lenet.cache").ranges()
    assert {name: entry["amax"] for name, entry in shown["tensors"].items()} == {
        n: r.amax for n, r in ranges.items()
    }


@pytest.mark.parametrize("command", main.commands)
def test_every_command_has_help_with_an_example(run, command):
    if command == "cache":
        assert "Commands:" in run("cache", "--help")
        command = "cache show"
    text = run(*command.split(), "--help")
    assert f"trt-int8 {command} " in text.split("Options:")[0].split("\n", 1)[1]


def test_python_dash_m(lenet_path):

    done = subprocess.run(
        [sys.executable, "-m", "trt_int8", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("trt-int8, version 0.")

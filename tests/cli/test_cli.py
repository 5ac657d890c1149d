"""All commands: the chain through several of them, their help, how they are started."""

import json
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
    assert "4 of 4 nodes that multiply run in INT8" in out
    assert "route: explicit" in out
    assert (tmp_path / "lenet.engine").stat().st_size > 100_000
    report = json.loads(run("report", tmp_path / "lenet.log", "--format", "json"))
    assert report["schema"] == 1
    assert report["builds"][0]["summary"]["int8_layers"] == 4


def test_step_by_step_gives_the_same_scales(run, data, lenet_path, tmp_path):
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "lenet.cache")
    sources = ["--data", data / "calibration.npz", "--algorithm", "entropy"]
    run("quantize", lenet_path, *sources, "-o", tmp_path / "a.onnx")
    out = run("quantize", lenet_path, "--cache", tmp_path / "lenet.cache", "-o", tmp_path / "b.onnx")
    assert "4 nodes quantized, 0 left in float" in out
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    run("build", tmp_path / "b.onnx", "-o", tmp_path / "b.engine")
    run(
        "build",
        lenet_path,
        "--cache",
        tmp_path / "lenet.cache",
        "-o",
        tmp_path / "c.engine",
        "--log",
        tmp_path / "c.log",
    )
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

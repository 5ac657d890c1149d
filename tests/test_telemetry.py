"""onnxruntime, in our processes and in those that they start, stores nothing about the user or the device."""

import os
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT, SAMPLE

MODEL = str(SAMPLE / "lenet.onnx")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / ".cache").mkdir(parents=True)
    np.savez(tmp_path / "samples.npz", data=np.zeros((4, 1, 28, 28), np.float32))
    return tmp_path / "home"


def run(*command, home, **more):
    given = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=home.parent,
        env={**given, **places, **more},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["calibrate", MODEL, "--data", "samples.npz", "-o", "c"],
        ["calibrate", MODEL, "--data", "samples.npz", "-o", "c", "--workers", "1"],
        ["evaluate", MODEL, MODEL, "--data", "samples.npz"],
    ],
    ids=["doctor", "calibrate", "workers", "evaluate"],
)
def test_a_command_leaves_nothing_in_the_home(home, arguments):
    run("-m", "trt_int8", *arguments, home=home)
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == [".cache"]


def test_data_that_runs_onnxruntime_comes_after_it(home):
    code = (
        "import trt_int8, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    assert run("-c", code, home=home) == "1 False\n"
    # Who wants telemetry has it.
    assert run("-c", code, home=home, ORT_DISABLE_TELEMETRY="0") == "0 False\n"

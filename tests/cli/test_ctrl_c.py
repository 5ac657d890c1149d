"""Ctrl-C at the command line: it says what is lost and what is kept, and changes no file."""

import subprocess
import sys

import numpy as np
import pytest

LOADER = """
import os, signal
import numpy as np

def digits():
    for number in range(10_000):
        if number == 40:
            os.kill(os.getpid(), signal.SIGINT)  # what a terminal does on Ctrl-C
        yield {"data": np.full((1, 1, 28, 28), number % 7, np.float32)}
"""
STOPPED_BUILD = """
import os, signal, sys
from trt_int8.engine.watch import BuildProgress

step = BuildProgress.step
def interrupted(self, name, number):
    os.kill(os.getpid(), signal.SIGINT)
    return step(self, name, number)
BuildProgress.step = interrupted

from trt_int8.cli import main
main(sys.argv[1:], prog_name="trt-int8")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "loader.py").write_text(LOADER)
    (tmp_path / "old").write_bytes(b"precious")
    np.savez(tmp_path / "samples.npz", data=np.random.default_rng(0).random((4, 1, 28, 28), np.float32))
    return tmp_path


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_while_calibrating(folder, lenet_path):
    command = [
        sys.executable,
        "-m",
        "trt_int8",
        "calibrate",
        str(lenet_path),
        "--data",
        "loader.py:digits",
        "-o",
        "old",
    ]
    done = run(*command, cwd=folder)
    assert done.returncode == 130, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Stopped while calibrating: ")
    assert line.endswith(
        "batches. That work is lost. No result was written; files that were there are as they were."
    )
    assert (folder / "old").read_bytes() == b"precious"
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == [
        "loader.py",
        "old",
        "samples.npz",
    ]


def test_while_building(folder, lenet_path):
    done = run(
        sys.executable,
        "-c",
        STOPPED_BUILD,
        "build",
        str(lenet_path),
        "--data",
        "samples.npz",
        "-o",
        "old",
        "--log",
        "b.log",
        cwd=folder,
    )
    # the second signal would kill; TensorRT stops after the step in which the first one came
    assert done.returncode == 130, done.stderr
    assert "Stopped while building: " in done.stderr
    assert "TensorRT's log so far is in b.log.failed. No result was written" in done.stderr
    assert (folder / "old").read_bytes() == b"precious"
    assert (folder / "b.log.failed").read_text().startswith("[I] trt_int8: building")

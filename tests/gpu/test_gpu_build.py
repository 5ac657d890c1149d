"""The whole MNIST sample by the implicit route, where TensorRT 8.6 to 10 is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trt_int8.engine.tensorrt import load_implicit
from trt_int8.errors import TrtInt8Error

SAMPLE = Path(__file__).parents[2] / "samples" / "mnist" / "implicit.py"
pytestmark = pytest.mark.gpu


def test_mnist_by_the_implicit_route(gpu, tmp_path):
    try:
        load_implicit()
    except TrtInt8Error as error:
        pytest.skip(str(error))
    command = [sys.executable, SAMPLE, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["route"], summary["images"]) == ("implicit", 484)  # 16 are held back
    assert summary["int8_layers"] >= 2  # the two convolutions at least; which others, TensorRT decides
    cache = (tmp_path / "lenet.cache").read_text()
    assert cache.startswith("TRT-")
    assert {"data", "conv1", "pool1", "conv2", "pool2"} <= {
        line.rpartition(": ")[0] for line in cache.splitlines()
    }
    # Pixels are in [0, 255/256]: whatever entropy clips, the scale of the input is near 1/127.
    (scale,) = [line for line in cache.splitlines() if line.startswith("data: ")]
    assert "3b" < scale.rpartition(": ")[2] < "3c0108"
    # Again, with the cache: no batch is read.
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 0

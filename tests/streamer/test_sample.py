"""The implicit MNIST sample from end to end: real pycuda, real digits; TensorRT played by a small fake."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "mnist" / "implicit.py"


LOG = (
    "Engine Layer Information:",
    "Layer(CaskConvolution): conv1, Tactic: 0x865894c4635db7fd, "
    "data (Int8[1,1:4,28,28]) -> conv1 (Int8[1,20:32,24,24])",
)


def sample_command():
    return runpy.run_path(str(SAMPLE))["main"]


@pytest.fixture
def fake_tensorrt(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "engine")
    import fake_tensorrt

    monkeypatch.setattr(fake_tensorrt, "IInt8MinMaxCalibrator", type("MinMax", (), {}), raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    return fake_tensorrt


def test_the_digits_reach_the_builder_normalized(standin, fake_tensorrt, monkeypatch, tmp_path):
    seen = []

    def calibrate(network, calibrator):
        assert [tensor.name for tensor in network._inputs] == ["data"]
        assert calibrator.get_batch_size() == 1
        while pointers := calibrator.get_batch(["data"]):
            seen.append(standin.read(pointers[0], (1, 1, 28, 28)))
        calibrator.write_calibration_cache(memoryview(b"TRT-101600-EntropyCalibration2\ndata: 3c008912\n"))

    monkeypatch.setattr(fake_tensorrt.Builder, "_calibrate", staticmethod(calibrate))
    monkeypatch.setattr(fake_tensorrt.Builder, "_log", LOG)
    result = CliRunner().invoke(sample_command(), ["--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with np.load(SAMPLE.parent / "digits.npz") as digits:
        expected = digits["calibration_images"] / np.float32(256)
    held_back = range(1, 64, 4)
    calibrated = np.delete(expected, held_back, axis=0)
    np.testing.assert_array_equal(np.concatenate(seen)[:, 0], calibrated)
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == len(calibrated) == 484
    # What was built is measured on the others, normalized on the CPU.
    assert re.search(r"^SQNR on 16 held-back samples: prob [3-9]\d\.\d\d dB$", result.output, re.MULTILINE)
    assert "data: 3c008912" in (tmp_path / "lenet.cache").read_text()


def test_without_tensorrt_one_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = CliRunner().invoke(sample_command(), ["--out", str(tmp_path)])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "pip install 'tensorrt-cu12>=10,<11' pycuda" in result.output

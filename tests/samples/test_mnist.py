"""``make mnist`` runs this script; here it runs into a temporary folder."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from places import SAMPLE

from trt_int8 import CalibrationCache

TABLE = ["data", "conv1", "pool1", "conv2", "pool2", "ip1_pre", "ip1", "ip2", "prob"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    run = subprocess.run(
        [sys.executable, str(SAMPLE / "main.py"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    return out, run.stdout


def test_summary(sample):
    out, _ = sample
    summary = json.loads((out / "summary.json").read_text())
    assert summary["route"] == "explicit"
    assert summary["images"] == 500
    assert summary["fp32_top1"] >= 0.985
    assert abs(summary["int8_top1"] - summary["fp32_top1"]) <= 0.003
    assert summary["int8_layers"] == 4
    assert summary["compute_layers"] > 4


def test_files(sample):
    out, printed = sample
    report = json.loads((out / "report.json").read_text())
    precisions = {node["node"]: node["precision"] for node in report["builds"][-1]["nodes"]}
    assert {name for name, precision in precisions.items() if precision == "int8"} == {
        "conv1",
        "conv2",
        "ip1",
        "ip2",
    }
    onnx.checker.check_model(onnx.load(out / "lenet.qdq.onnx"), full_check=True)
    ranges = CalibrationCache.read(out / "lenet.cache").ranges()
    assert set(TABLE) <= set(ranges)
    # These do not depend on the weights: they are TensorRT's own, bit for bit.
    assert ranges["data"].scale == np.float32(2040.5 / 2048 / 127)
    assert ranges["prob"].scale == np.float32((1 + 1 / 4096) / 127)
    for name in ("lenet.engine", "lenet.cache", "lenet.qdq.onnx", "build.log", "report.json", "summary.json"):
        assert (out / name).stat().st_size > 0
        assert str(out / name) in printed


def test_printed(sample):
    _, printed = sample
    rows = [
        line.split()[0] for line in printed.splitlines() if line.split()[1:2] and len(line.split()[1]) == 8
    ]
    assert [row for row in rows if row in TABLE] == TABLE
    assert "FP32 99." in printed
    assert "TensorRT executed nothing" in printed
    assert "4 of 4 Conv, Gemm and MatMul nodes run in INT8" in printed


def test_digits_for_evaluation_are_others_than_for_calibration():
    with np.load(SAMPLE / "digits.npz") as digits:
        calibration, evaluation = digits["calibration_images"], digits["evaluation_images"]
        assert "CC BY-SA 3.0" in str(digits["attribution"])
    assert len(evaluation) >= 2000
    assert not {image.tobytes() for image in calibration} & {image.tobytes() for image in evaluation}

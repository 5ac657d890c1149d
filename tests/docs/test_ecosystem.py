"""What the page about other tools says, tested on our side of each."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from blocks import blocks
from places import ROOT, SAMPLE

import trt_int8

PAGE = ROOT / "docs" / "ecosystem.md"


@pytest.fixture(scope="module")
def cache(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("ecosystem")
    ranges = trt_int8.calibrate(SAMPLE / "lenet.onnx", [i[None] for i in digits["calibration"][:20]]).ranges
    trt_int8.CalibrationCache.from_ranges(ranges).write(folder / "my.cache")
    return folder / "my.cache", ranges


def test_the_cache_is_what_tensorrt_writes(cache):
    """Byte for byte the format of the tables in the wild: header, ``name: `` and eight hexadecimal digits."""
    path, ranges = cache
    header, *lines = path.read_bytes().decode("ascii").split("\n")
    assert re.fullmatch(r"TRT-\d{4,6}-EntropyCalibration2", header)
    assert lines.pop() == ""
    found = {}
    for line in lines:
        name, digits = re.fullmatch(r"(.+): ([0-9a-f]{8}|0)", line).groups()
        (found[name],) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
    assert found == {name: float(entry.scale) for name, entry in ranges.items()}


def as_onnxruntime_reads(path: Path) -> dict[str, float]:
    """The rules of the provider for native tables: cut at the first colon, scale × 127."""
    header, *lines = path.read_text().splitlines()
    assert "TRT-" in header.split(":")[0]
    table = {}
    for line in lines:
        name, digits = line.split(":")[:2]
        value = int(digits, 16) if re.fullmatch(r"\s*[0-9a-f]+", digits) else 0
        table[name] = float(np.uint32(value).view(np.float32) * np.float32(127))
    return table


def test_onnxruntimes_provider_reads_our_ranges(cache):
    path, ranges = cache
    table = as_onnxruntime_reads(path)
    assert table.keys() == ranges.keys()
    for name, entry in ranges.items():
        assert table[name] == pytest.approx(entry.amax, rel=1e-6)


def test_names_with_colons_are_lost_there_as_the_page_says(tmp_path):
    ranges = trt_int8.Ranges({"input:0": trt_int8.TensorRange(1.0, source="test")})
    trt_int8.CalibrationCache.from_ranges(ranges).write(tmp_path / "c")
    assert as_onnxruntime_reads(tmp_path / "c") == {"input": 0.0}
    assert list(trt_int8.CalibrationCache.read(tmp_path / "c").ranges()) == ["input:0"]


def test_the_workflow_gates(tmp_path, digits):
    """The steps run as written; a build that loses INT8 fails the gate."""
    (block,) = [block for block in blocks(PAGE) if block.file == ".github/workflows/int8.yml"]
    steps = yaml.safe_load(block.text)["jobs"]["precision"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("trt-int8")]
    assert len(commands) == 3
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "out" / "calibration.npz", data=digits["calibration"][:20])
    (tmp_path / "lenet.onnx").write_bytes((SAMPLE / "lenet.onnx").read_bytes())
    environment = {
        **os.environ,
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }

    def run(command):
        return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # fmt: skip

    assert [run(command).returncode for command in commands] == [0, 0, 0]
    assert "conv1" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (
        run(
            "trt-int8 quantize lenet.onnx --data out/calibration.npz -o lenet.qdq.onnx --exclude conv2"
        ).returncode
        == 0
    )
    assert run("trt-int8 build lenet.qdq.onnx -o lenet.engine --target sm89").returncode == 0
    gate = run(commands[1])
    assert gate.returncode == 1
    assert "conv2" in gate.stdout + gate.stderr


def test_polygraphys_example_is_the_one_that_is_run():
    text = PAGE.read_text(encoding="utf-8")
    inside = (ROOT / "tests" / "bindings" / "inside_polygraphy.py").read_text(encoding="utf-8")
    for part in ("CreateConfig(int8=True, calibrator=calibrator, profiles=[profile])", "EntropyCalibrator"):
        assert part in text
        assert part in inside

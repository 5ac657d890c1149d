"""Builds that fail or are stopped: what is said, and which files are left."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from builds import fresh_process
from onnx import numpy_helper

from trt_int8.engine import BuildLog, build_explicit
from trt_int8.errors import BuildError, ModelError, OutputError
from trt_int8.pipeline.build import build_engine
from trt_int8.quantization import quantize


def build_into(path, model, tensorrt, target):
    with BuildLog(path) as log:
        build_explicit(model, tensorrt=tensorrt, log=log, target=target)


class TestFailedBuilds:
    @pytest.fixture
    def refused(self, lenet_path, lenet_ranges):
        """uint8 zero points: fine for onnxruntime, refused by TensorRT's parser."""
        model = quantize(lenet_path, lenet_ranges, placement="tensorrt").model
        for tensor in model.graph.initializer:
            if tensor.name == "data_zero_point":
                tensor.CopyFrom(numpy_helper.from_array(np.uint8(128), tensor.name))
        return model

    def test_the_parsers_own_line_and_the_log_are_named(self, refused, tmp_path):
        engine = tmp_path / "e"
        engine.write_bytes(b"old engine")
        (tmp_path / "build.log").write_text("of the old engine")
        with pytest.raises(BuildError, match="cannot parse the model") as caught:
            build_engine(refused, engine, log=tmp_path / "build.log")
        failed = tmp_path / "build.log.failed"
        assert caught.value.log == failed
        assert any("shiftIsAllZeros" in line and "data_Q" in line for line in caught.value.lines)
        assert f"whole log: {failed}" in str(caught.value)
        assert "[E] " in failed.read_text()
        assert engine.read_bytes() == b"old engine"
        assert (tmp_path / "build.log").read_text() == "of the old engine"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["build.log", "build.log.failed", "e"]

    @pytest.mark.parametrize(
        ("target", "line"),
        [("current", "CUDA driver version is insufficient"), ("sm75", "FP32 GEMM is not supported")],
    )
    def test_the_builders_own_line_is_named(self, lenet_path, tensorrt, tmp_path, target, line):
        if target == "current" and Path("/proc/driver/nvidia").exists():
            pytest.skip("there is a GPU, so building for it does not fail")
        with pytest.raises(BuildError) as caught:
            build_into(tmp_path / "b.log", onnx.load(lenet_path), tensorrt, target)
        assert any(line in text for text in caught.value.lines)
        assert str(tmp_path / "b.log") in str(caught.value)
        # After a failure this process is suspect, and every later log says so.
        later = BuildLog()
        build_explicit(onnx.load(lenet_path), tensorrt=tensorrt, log=later)
        assert "a build failed earlier in this process" in later.warnings[0]

    def test_results_that_cannot_be_written_are_found_first(self, lenet_path, lenet_ranges, tmp_path):
        with pytest.raises(OutputError, match="the folder .*/no does not exist"):
            build_engine(lenet_path, tmp_path / "no" / "e", ranges=lenet_ranges)
        with pytest.raises(OutputError, match="it is a folder"):
            build_engine(lenet_path, tmp_path / "e", ranges=lenet_ranges, log=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_bad_model_leaves_the_old_log(self, tmp_path):
        (tmp_path / "m.onnx").write_bytes(b"")
        (tmp_path / "e.log").write_text("old")
        with pytest.raises(ModelError):
            build_engine(tmp_path / "m.onnx", tmp_path / "e")
        assert (tmp_path / "e.log").read_text() == "old"

    def test_an_engine_that_cannot_be_written_leaves_the_old_log(
        self, lenet_path, lenet_ranges, tmp_path, monkeypatch
    ):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        (tmp_path / "e.log").write_text("old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            build_engine(lenet_path, tmp_path / "e", ranges=lenet_ranges)
        assert (tmp_path / "e.log").read_text() == "old"
        assert "Layers:" in (tmp_path / "e.log.failed").read_text()

    def test_nothing_needed_is_overwritten(self, lenet_path, lenet_ranges, tmp_path):
        model = tmp_path / "m.onnx"
        model.write_bytes(lenet_path.read_bytes())
        for engine, log in ((model, None), (tmp_path / "e", model)):
            with pytest.raises(OutputError, match="would overwrite the model"):
                build_engine(model, engine, log=log, ranges=lenet_ranges)
        with pytest.raises(OutputError, match="the log would overwrite the engine"):
            build_engine(model, tmp_path / "e", log=tmp_path / "e", ranges=lenet_ranges)
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_ctrl_c_stops_the_build(lenet_path, tmp_path):
    # SIGINT comes while the builder is in C++ code, as a terminal sends it.
    code = f"""
import os, signal, sys, threading
from trt_int8 import build_engine
from trt_int8.engine.log import BuildLog
from trt_int8.ranges import Ranges, TensorRange

add = BuildLog.add
def interrupting(self, severity, message):
    add(self, severity, message)
    if "Graph optimization time" in message:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
BuildLog.add = interrupting
ranges = Ranges({{n: TensorRange(1.0, source="t") for n in ("data", "pool1", "conv1", "conv2", "pool2", "pool2_flat", "ip1")}})
try:
    build_engine({str(lenet_path)!r}, {str(tmp_path / "e")!r}, ranges=ranges)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert fresh_process(code) == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["e.log.failed"]

"""`build_engine` on the real bindings of each TensorRT that has the implicit route."""

from pathlib import Path

import pytest
import wheels
from test_calibrators import run_inside

HERE = Path(__file__).parent


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_the_whole_build(version):
    assert run_inside(version, "inside_build.py", extra=[HERE.parent / "engine"]) == 8


def test_on_tensorrt_11_the_command_says_how_to_go_on():
    lenet = wheels.REPOSITORY / "samples" / "mnist" / "lenet.onnx"
    code = (
        f"from trt_int8 import build_engine; build_engine({str(lenet)!r}, 'e', batches=[], mode='implicit')"
    )
    error = wheels.python("11.4", "-c", code).stderr
    assert "TensorRT 11.4.0.106 has no INT8 calibrators" in error
    assert "mode='explicit'" in error

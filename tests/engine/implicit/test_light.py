"""The implicit route imports TensorRT and CUDA only when one of its calibrators is asked for."""

import subprocess
import sys

import pytest

HEAVY = "tensorrt", "tensorrt_rtx", "pycuda", "onnxruntime", "yaml"


def heavy_after(statement):
    code = f"import sys; {statement}; print(*[m for m in {HEAVY} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "from trt_int8.engine.implicit import *",
        "import trt_int8.engine.implicit.build, trt_int8.engine.implicit.timing_cache",
        "import trt_int8.engine.route, trt_int8.pipeline.build, trt_int8.streamer.device",
    ],
)
def test_nothing_heavy(statement):
    assert heavy_after(statement) == []


def test_the_check_can_fail():
    assert heavy_after("import yaml") == ["yaml"]


def test_an_unknown_name_is_an_attribute_error():
    import trt_int8.engine.implicit

    with pytest.raises(AttributeError, match="has no attribute 'EntropyCalibratr'"):
        _ = trt_int8.engine.implicit.EntropyCalibratr

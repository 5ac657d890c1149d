"""The calibrators on the real bindings of each TensorRT that has them, called through C++."""

import re
from pathlib import Path

import pytest
import wheels

HERE = Path(__file__).parent


def run_inside(version, file, *options, extra=()):
    """Run the tests of ``file`` beside the bindings of ``version``; returns how many passed."""
    pytest_ = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", wheels.REPOSITORY / "pyproject.toml"]
    result = wheels.python(version, *pytest_, "--rootdir", HERE, *options, HERE / file, extra=extra)
    assert result.returncode == 0, result.stdout + result.stderr
    summary = result.stdout.strip().splitlines()[-1]
    assert "skipped" not in summary
    return int(re.search(r"(\d+) passed", summary)[1])


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_called_through_the_vtable(version):
    assert run_inside(version, "inside_calibrators.py") >= 26


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_in_polygraphy(version):
    extra = [wheels.unpacked(wheels.POLYGRAPHY), HERE.parent / "engine"]
    # Polygraphy itself warns of what it deprecates.
    assert run_inside(version, "inside_polygraphy.py", "-W", "ignore", extra=extra) == 1


def test_tensorrt_11_says_that_the_implicit_route_is_closed():
    code = "from trt_int8.engine.implicit import EntropyCalibrator"
    result = wheels.python("11.4", "-c", code)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "trt_int8.errors.MissingDependencyError: TensorRT 11.4.0.106 has no INT8 calibrators; "
        "TensorRT 10 was the last version with them. Use Q/DQ nodes (mode='explicit'), or install TensorRT 10: "
        "pip install 'tensorrt-cu12>=10,<11' pycuda"
    )


def test_everything_else_of_the_package_imports_there():
    result = wheels.python("11.4", "-c", "import trt_int8.engine.implicit, trt_int8.engine.tensorrt")
    assert result.returncode == 0, result.stderr

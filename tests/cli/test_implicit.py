"""The implicit route on the command line, where TensorRT 10 is not installed."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from trt_int8.cli import main


@pytest.fixture
def data(tmp_path, digits):
    path = tmp_path / "data.npz"
    np.savez(path, data=digits["calibration"][:4])
    return path


@pytest.fixture
def build(lenet_path, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # not installed

    def run(*options):
        command = ["build", str(lenet_path), "--data", str(data), "-o", str(tmp_path / "e"), *options]
        return CliRunner().invoke(main, command)

    return run


def test_one_line_says_what_is_missing_and_how_to_install_it(build, tmp_path, data):
    result = build("--mode", "implicit")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: the implicit route needs TensorRT 8.6 to 10")
    assert "nstall it on a machine with a GPU (pip install 'tensorrt-cu12>=10,<11' pycuda), or" in line
    assert list(tmp_path.iterdir()) == [data]


def test_options_of_the_implicit_route_are_not_ignored_on_the_explicit_one(build):
    result = build("--fp16", "--keep-fp16", "head/*", "--target", "sm89")
    assert result.exit_code == 1
    assert "fp16, keep_fp16: only for the implicit route" in result.stderr
    assert "target rtx:sm89 is built ahead of time, by TensorRT-RTX" in result.stderr


def test_asking_for_the_implicit_route_and_a_target_contradict(build):
    result = build("--mode", "implicit", "--target", "sm89")
    assert result.exit_code == 1
    assert "the implicit route is not available: target rtx:sm89" in result.stderr


def test_the_choice_and_its_reason_are_printed(build):
    result = build("--target", "sm89")
    assert result.exit_code == 0, result.stderr
    assert (
        "route: explicit (target rtx:sm89 is built ahead of time, by TensorRT-RTX, which has no calibrators)"
        in (result.stdout)
    )

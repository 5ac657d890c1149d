"""Checks of the arguments of a build, before any work."""

import pytest

from trt_int8.engine import load
from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.engine.route import ChosenRoute
from trt_int8.errors import BuildError
from trt_int8.pipeline import checks
from trt_int8.pipeline.options import QuantizationOptions
from trt_int8.streamer.gpu import Gpu, NoGpu
from trt_int8.target import Target


@pytest.fixture
def check(monkeypatch):
    """A function that checks a route to a GPU of TensorRT-RTX on a machine with given GPUs."""
    rtx = load("tensorrt_rtx")

    def run(gpu, *capabilities):
        problem = None if capabilities else NoGpu("no NVIDIA driver", "install it")
        gpus = tuple(Gpu(f"GPU {name}", name, "580", "13.0") for name in capabilities)
        monkeypatch.setattr(checks, "find_gpus", lambda: (gpus, problem))
        route = ChosenRoute("explicit", "asked for", rtx, Target("tensorrt_rtx", gpu))
        checks.check_route(route, QuantizationOptions(), ImplicitOptions())

    return run


def test_the_gpu_in_this_machine_must_be_there(check):
    with pytest.raises(
        BuildError, match="there is none: no NVIDIA driver; install it, or name a GPU, .*rtx:sm89"
    ):
        check("current")
    check("sm89")  # is built ahead of time


def test_tensorrt_rtx_is_not_used_for_a_gpu_that_it_refuses_at_run_time(check):
    """It builds for it without a word."""
    check("current", "sm89")
    check("current", "sm120", "sm90")
    with pytest.raises(
        BuildError, match=r"GPU sm90 \(sm90\), only on sm75, .*; use TensorRT: target='tensorrt'"
    ):
        check("current", "sm90")
    check("sm89", "sm90")

"""How far a build is, and stopping it."""

import os
import signal

import onnx
import pytest

from trt_int8 import progress
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.engine.watch import BuildProgress
from trt_int8.progress import Display, Phase


def test_shares_of_nested_stages():
    phase = Phase("building", total=1)
    watch = BuildProgress(phase)
    watch.start("engine", None, 4)
    watch.step("engine", 0)
    assert phase.done == pytest.approx(1 / 4)
    watch.start("tactics", "engine", 10)
    watch.step("tactics", 4)
    assert phase.done == pytest.approx(1 / 4 + 5 / 40)
    assert phase.detail == "tactics 5/10"
    watch.start("node", "tactics", 2)
    watch.step("node", 0)
    assert phase.done == pytest.approx(1 / 4 + 5 / 40 + 1 / 80)
    watch.finish("node")
    watch.finish("tactics")
    assert phase.done == pytest.approx(1 / 4 + 5 / 40 + 1 / 80)  # it never goes back
    watch.step("engine", 3)
    assert phase.done == 1
    watch.step("unknown", 3)


def test_a_real_build_comes_to_the_end(lenet_path, monkeypatch):
    seen, shares = [], []
    update = BuildProgress._update
    monkeypatch.setattr(
        BuildProgress, "_update", lambda self: update(self) or shares.append(self._phase.done)
    )

    class Recorder(Display):
        def end(self, phase):
            seen.append((phase.name, phase.done))

    with progress.show(Recorder()):
        build_explicit(onnx.load(lenet_path), tensorrt=load("tensorrt_rtx"), log=BuildLog())
    assert seen == [("building", 1)]
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    assert shares[-1] > 0.8


def test_ctrl_c_stops_a_real_build(lenet_path, monkeypatch, tmp_path):
    steps = []

    def step(self, name, number):
        steps.append(name)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, name, number)

    original = BuildProgress.step
    monkeypatch.setattr(BuildProgress, "step", step)
    with progress.show(Display()) as display:
        with BuildLog(tmp_path / "b.log") as log, pytest.raises(KeyboardInterrupt):
            build_explicit(onnx.load(lenet_path), tensorrt=load("tensorrt_rtx"), log=log)
        log = tmp_path / "b.log.failed"
        assert display.interrupted.lost() == f"That work is lost. TensorRT's log so far is in {log}."
    stopped = len(steps)
    monkeypatch.undo()
    whole = []
    monkeypatch.setattr(BuildProgress, "step", lambda self, name, number: whole.append(name) or True)
    build_explicit(onnx.load(lenet_path), tensorrt=load("tensorrt_rtx"), log=BuildLog())
    assert 3 <= stopped < len(whole) / 2

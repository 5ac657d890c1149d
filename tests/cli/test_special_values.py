"""Constant outputs, zeros, infinity and NaN: no warning, no "nan", no "inf"; words say what they mean."""

import re
import warnings

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from trt_int8.cli import main

WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
CONV = helper.make_node("Conv", ["x", "w"], ["c"], "conv")


def node(op, *tensors, **attributes):
    return helper.make_node(op, tensors[:-1], tensors[-1:], op.lower(), **attributes)


#: Nodes after a convolution, element types of the outputs, and weights.
MODELS = {
    "zero weights": ([], {"c": 1}, {"w": WEIGHT * 0}),
    "NaN in weights": ([], {"c": 1}, {"w": np.where(WEIGHT > 2, np.nan, WEIGHT)}),
    "infinite weights": ([], {"c": 1}, {"w": np.where(WEIGHT > 2, np.inf, WEIGHT)}),
    "overflow": ([node("Mul", "c", "c", "y")], {"y": 1}, {"w": WEIGHT * 1e30}),
    "constant output": ([node("Mul", "c", "z", "d"), node("Add", "d", "o", "y")], {"y": 1, "c": 1}, {"z": np.zeros(1), "o": np.ones(1)}),
    "zero output": ([node("Mul", "c", "z", "y")], {"y": 1}, {"z": np.zeros(1)}),
    "integer output": ([node("ArgMax", "c", "y", axis=1)], {"y": 7, "c": 1}, {}),
    "integer output alone": ([node("ArgMax", "c", "y", axis=1)], {"y": 7}, {}),
    "NaN in an output": ([node("Log", "c", "y")], {"y": 1, "c": 1}, {}),
    "infinite output": ([node("Div", "c", "z", "y")], {"y": 1, "c": 1}, {"z": np.full(1, 1e-44)}),
}  # fmt: skip
COMMANDS = """
calibrate m.onnx --data DATA -o c --histograms h
ranges analyze h
cache show c
cache diff c c
migrate m.onnx c -o n --data DATA
quantize m.onnx --data DATA -o q
quantize m.onnx --data DATA -o n --recentre *
quantize m.onnx --data DATA -o n --high-precision fp16
evaluate m.onnx q --data DATA --per-layer
evaluate m.onnx q --data d.npz --min-sqnr 40
sensitivity m.onnx --data DATA
sensitivity m.onnx --data DATA --min-sqnr 30 -o p
""".strip().splitlines()


def write_model(nodes, outputs, weights):
    graph = helper.make_graph(
        [CONV, *nodes],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(name, kind, [f"{name}{i}" for i in range(4)]) for name, kind in outputs.items()],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in ({"w": WEIGHT} | weights).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, "m.onnx")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command line in a folder with samples; a warning fails it."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    np.savez("d.npz", x=values)
    np.savez("zero.npz", x=values * 0)
    np.savez("one.npz", x=values[:1])
    np.savez("tiny.npz", x=values * np.float32(1e-40))

    def run(line):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            result = CliRunner().invoke(main, line.split())
        assert isinstance(result.exception, SystemExit | type(None)), (line, result.exception)
        return result.output

    return run


@pytest.mark.parametrize("data", ["d.npz", "zero.npz", "one.npz", "tiny.npz"])
@pytest.mark.parametrize("model", MODELS)
def test_no_warning_and_no_nan(run, model, data):
    write_model(*MODELS[model])
    for line in COMMANDS:
        for said in run(line.replace("DATA", data)).splitlines():
            assert not re.search(r"[+-]?\b(nan|inf)\b", said), (line, said)
            assert not said.startswith("warning:"), (line, said)


def test_what_they_mean_is_said(run):
    write_model(*MODELS["zero output"])
    run("quantize m.onnx --data d.npz -o q")
    assert "\ny: exactly equal, no error\n" in run("evaluate m.onnx q --data d.npz")
    assert "all in INT8: SQNR exact\nconv (Conv): alone exact; left in float +0.00 dB\n" in run(
        "sensitivity m.onnx --data d.npz"
    )
    write_model(*MODELS["constant output"])
    run("quantize m.onnx --data d.npz -o q")
    layers = run("evaluate m.onnx q --data d.npz --per-layer").splitlines()
    assert "exact        Add                  y (add)" in layers
    write_model(*MODELS["integer output alone"])
    assert "accuracy is not known: the model has no float output to compare\n" in run(
        "quantize m.onnx --data d.npz -o q"
    )

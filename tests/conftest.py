"""Shared parts: the sample's network and digits, tiny networks, the corpus of real files."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from places import SAMPLE

from trt_int8.engine import load


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "faults injected into the writing of files (tests/faults)")
    group.addoption("--all-faults", action="store_true", help="all of them, which takes some 20 minutes")
    group.addoption("--fault-seed", default="1", help="of the choice without --all-faults (default: 1)")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_python() -> Iterator[None]:
    """Also where the tests run as a background job, whose shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def lenet_path() -> Path:
    return SAMPLE / "lenet.onnx"


@pytest.fixture(scope="session")
def digits() -> dict[str, np.ndarray]:
    """The sample's digits, images as the network takes them: float32 [n, 1, 28, 28]."""
    with np.load(SAMPLE / "digits.npz") as data:
        return {
            "calibration": (data["calibration_images"][:, None] / np.float32(256)).astype(np.float32),
            "evaluation": (data["evaluation_images"][:, None] / np.float32(256)).astype(np.float32),
            "labels": data["evaluation_labels"],
        }


Nodes = list[onnx.NodeProto]

MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Build a checked model from nodes: ``make(nodes, inputs={name: shape}, outputs=[…], weights={…})``."""

    def make(
        nodes: Nodes,
        *,
        inputs: dict[str, list[int | str]],
        outputs: list[str],
        weights: dict[str, np.ndarray] | None = None,
        opset: int = 17,
        dtype: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        onnx.checker.check_model(model)
        return model

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def tensorrt():
    return load("tensorrt_rtx")

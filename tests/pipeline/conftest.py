"""A network whose biases are worth correcting, and samples for it."""

import numpy as np
import pytest
from onnx import helper

from trt_int8.ranges import Ranges, TensorRange


@pytest.fixture
def one_sided(make_model, rng):
    """A network and ranges that clip: everything shifts down."""
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w"], ["a"], "first"),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node("Gemm", ["r", "v"], ["y"], "second"),
        ],
        inputs={"x": ["n", 8]},
        outputs=["y"],
        weights={n: rng.normal(size=s).astype(np.float32) for n, s in (("w", (8, 16)), ("v", (16, 4)))},
    )
    return model, Ranges({name: TensorRange(1.5, source="too small") for name in ("x", "r")})


@pytest.fixture
def data(rng):
    """Make batches for it: data(number of batches, samples in each)."""
    return lambda batches, size=1: [
        {"x": rng.exponential(size=(size, 8)).astype(np.float32)} for _ in range(batches)
    ]

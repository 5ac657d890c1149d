import numpy as np
import pytest
from epilogues import UNEVEN, C


@pytest.fixture
def weights(rng):
    def alike(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    return {
        "w": alike(C, C, 3, 3),
        "b": alike(C),
        "p": alike(C, C, 1, 1) * UNEVEN[:, None, None, None],
        "p2": alike(C, 2 * C, 1, 1) * UNEVEN[:, None, None, None],
        "t": alike(C, C, 2, 2),
        "low": np.float32(0),
        "high": np.float32(6),
        "bias": alike(1, C, 1, 1),
        "narrow": alike(C, 1, 1),
        "everywhere": alike(1, C, 8, 8),
    }


@pytest.fixture
def make(make_model, weights):
    def make(nodes, outputs=("y",), **replaced):
        used = {name for node in nodes for name in node.input}
        inputs = {name: [1, C, 8, 8] for name in ("x", "r") if name in used}
        constants = {name: value for name, value in {**weights, **replaced}.items() if name in used}
        return make_model(nodes, inputs=inputs, outputs=list(outputs), weights=constants)

    return make

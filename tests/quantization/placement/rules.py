"""Shared parts of the tests of placement rules; test_placement.py runs each with its rule and without."""

from collections.abc import Callable

import numpy as np
import onnx
from graphs import conv, op, ranges, weight

from trt_int8.quantization import PLACEMENTS, Placement, quantize

C = 4
X = {"x": [1, C, 8, 8]}
TESTS: dict[str, Callable] = {}


def rule(name: str):
    """Register a test of the rule ``name``: ``test(make_model, rng, placement)``."""

    def register(test):
        TESTS[name] = test
        return test

    return register


def everything(model: onnx.ModelProto, **special: float):
    """Ranges for all tensors, constants too, so that nothing but the rules keeps a node in float."""
    names = {n for nd in model.graph.node for n in (*nd.input, *nd.output) if n}
    return ranges(**{**dict.fromkeys(sorted(names), 2.0), **special})


def quantized(model, placement, **special):
    return quantize(model, everything(model, **special), placement=placement)


def conv_weights(rng, *names):
    return {name: weight(rng, C, C, 3, 3) for name in names}


def attention(make_model):
    return make_model(
        [
            op("MatMul", "q k", "s", "qk"),
            op("Softmax", "s", "p", "softmax", axis=-1),
            op("Identity", "p", "d", "identity"),
            op("MatMul", "d v", "o", "pv"),
            op("MatMul", "o w", "y", "projection"),
        ],
        inputs={"q": [2, 4, 8], "k": [2, 8, 4], "v": [2, 4, 8]},
        outputs=["y"],
        weights={"w": np.eye(8, dtype=np.float32)},
    )


def norm_model(make_model, rng, **attributes):
    vectors = {name: rng.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmv"}
    vectors["g"][0] = -1
    return make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("BatchNormalization", "a g h m v", "n", "bn", **attributes),
            op("Relu", "n", "r"),
            conv("r", "w1", "y", "conv2"),
        ],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w1"), **vectors},
    )


def names_of(placement: Placement):
    return [r.name for r in placement.rules]


def rtx_names():
    return names_of(PLACEMENTS["rtx"])


def home(name: str) -> Placement:
    """A placement that has the rule, and a rule it holds back."""
    if name == "fused-activations":
        return PLACEMENTS["rtx"]
    return next(p for p in PLACEMENTS.values() if name in names_of(p))

"""Activation functions, as one node and as exporters write them out."""

import numpy as np
import pytest
from graphs import conv, op, weight

from trt_int8.graph.activations import fused_activations
from trt_int8.graph.index import GraphIndex

C = 4
HALF, ONE, THREE, SIX = "half", "one", "three", "six"

#: form → nodes from a to r, all of which belong to it
FORMS = {
    "relu": [op("Relu", "a", "r")],
    "hard swish": [op("HardSwish", "a", "r")],
    "silu": [op("Sigmoid", "a", "g"), op("Mul", "a g", "r")],
    "hard swish written out": [
        op("Add", "a three", "p"),
        op("Clip", "p zero six", "c"),
        op("Mul", "a c", "m"),
        op("Div", "m six", "r"),
    ],
    "hard swish, divided first": [
        op("Add", "a three", "p"),
        op("Clip", "p zero six", "c"),
        op("Div", "c six", "d"),
        op("Mul", "a d", "r"),
    ],
    "gelu": [
        op("Div", "a root", "d"),
        op("Erf", "d", "e"),
        op("Add", "e one", "e1"),
        op("Mul", "a e1", "m"),
        op("Mul", "m half", "r"),
    ],
    "gelu, halved first": [
        op("Mul", "a half", "h"),
        op("Div", "a root", "d"),
        op("Erf", "d", "e"),
        op("Add", "e one", "e1"),
        op("Mul", "h e1", "r"),
    ],
    "gelu by tanh": [
        op("Pow", "a three", "a3"),
        op("Mul", "a3 k", "ka3"),
        op("Add", "a ka3", "s"),
        op("Mul", "s k", "ks"),
        op("Tanh", "ks", "t"),
        op("Add", "t one", "t1"),
        op("Mul", "a t1", "m"),
        op("Mul", "m half", "r"),
    ],
    "mish": [op("Softplus", "a", "s"), op("Tanh", "s", "t"), op("Mul", "a t", "r")],
}

CONSTANTS = {"half": 0.5, "one": 1, "three": 3, "six": 6, "zero": 0, "root": 2**0.5, "k": 0.044715}


def index(make_model, rng, nodes, **more):
    return GraphIndex(
        make_model(
            [conv("x", "w", "a", "conv1"), *nodes, conv("r", "w", "y", "conv2")],
            inputs={"x": [1, C, 8, 8]},
            outputs=["y"],
            weights={
                "w": weight(rng, C, C, 3, 3),
                **{k: np.float32(v) for k, v in CONSTANTS.items()},
                **more,
            },
        )
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_node_of_the_form_is_found(make_model, rng, form):
    nodes = FORMS[form]
    found = fused_activations(index(make_model, rng, nodes))
    # A factor or divisor behind the last product belongs to nobody, and is no place for a pair either.
    behind = {"r"} if form in ("hard swish written out", "gelu", "gelu by tanh") else set()
    assert {n.output[0] for n in nodes} - behind <= found <= {n.output[0] for n in nodes}


def test_a_constant_gate_is_none(make_model, rng):
    nodes = [op("Sigmoid", "v", "g"), op("Mul", "a g", "r")]
    assert fused_activations(index(make_model, rng, nodes, v=weight(rng, 1, C, 1, 1))) == {"g"}


@pytest.mark.parametrize(
    "nodes",
    [
        [conv("a", "w", "b", "c"), op("Add", "a b", "r")],  # residual
        [op("Mul", "a a", "r")],  # a square
        [
            op("GlobalAveragePool", "a", "g"),
            op("Conv", "g v", "e"),
            op("Mul", "a e", "r"),
        ],  # a gate of another kind
        [op("Mul", "a half", "h"), op("Add", "a h", "r")],
    ],
)
def test_other_sums_and_products_are_none(make_model, rng, nodes):
    assert fused_activations(index(make_model, rng, nodes, v=weight(rng, C, C, 1, 1))) == frozenset()

"""The facts about operators hold in ONNX's reference implementation."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from trt_int8.graph import operators

#: Operators of onnxruntime's own domain, which exporters write and ONNX does not define.
FOREIGN = {"MultiHeadAttention", "QGemm"}
#: What an operator reads besides one tensor [2, 3, 4, 4], and its attributes.
MORE = {
    "Reshape": ([np.array([4, 24])], {}),
    "Squeeze": ([], {}),
    "Unsqueeze": ([np.array([0])], {}),
    "MaxPool": ([], {"kernel_shape": [2, 2]}),
    "AveragePool": ([], {"kernel_shape": [2, 2]}),
    "Transpose": ([], {"perm": [3, 1, 0, 2]}),
    "Slice": ([np.array([1]), np.array([3]), np.array([1])], {}),
    "Split": ([np.array([1, 2])], {"axis": 1}),
    "Gather": ([np.array([2, 0])], {"axis": 1}),
    "Expand": ([np.array([2, 2, 3, 4, 4])], {}),
    "Tile": ([np.array([1, 1, 2, 1])], {}),
    "Pad": ([np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}),
    "DepthToSpace": ([], {"blocksize": 1}),
    "SpaceToDepth": ([], {"blocksize": 2}),
    "Concat": ([], {"axis": 0}),
}


def named():
    return {
        name: value
        for name, value in vars(operators).items()
        if name.isupper() and isinstance(value, frozenset | tuple)
    }


def run(op, x, *more):
    inputs, attributes = MORE.get(op, ([], {}))
    values = [x, *more, *inputs]
    names = [f"i{i}" for i in range(len(values))]
    outputs = ["y", "z"] if op == "Split" else ["y"]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(names, values, strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    found = ReferenceEvaluator(model).run(None, dict(zip(names, values, strict=True)))
    return np.concatenate([np.ravel(value) for value in found])


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 3, 4, 4)).astype(np.float32)


def test_every_name_is_an_operator():
    known = {schema.name for schema in onnx.defs.get_all_schemas()} | FOREIGN
    sets = named()
    assert len(sets) > 15
    for name, value in sets.items():
        assert set(value) <= known, name


@pytest.mark.parametrize("op", sorted(operators.VIEWS))
def test_views_give_out_the_same_values(op, x):
    assert np.array_equal(np.sort(run(op, x)), np.sort(x, axis=None))


@pytest.mark.parametrize("op", sorted(operators.PASSING))
def test_passing_operators_give_out_values_of_their_input(op, x):
    assert np.isin(run(op, x), x).all()


@pytest.mark.parametrize("op", sorted(operators.COMMUTING))
def test_operators_that_commute_with_quantization(op, x):
    """op(dequantize(q)) is dequantize(op(q)), for integers q."""
    scale, codes = np.float32(0.5), np.round(x * 40).clip(-127, 127).astype(np.float32)
    assert np.array_equal(run(op, codes * scale), run(op, codes) * scale)


@pytest.mark.parametrize("op", sorted(operators.COPYING))
def test_copying_operators_invent_nothing_but_zeros(op, x):
    found = run(op, x)
    assert np.isin(found, [*x.flat, 0.0]).all()


@pytest.mark.parametrize("op", sorted(operators.NONNEGATIVE))
def test_never_negative(op, x):
    found = run(op, np.abs(x) if op == "Sqrt" else x)
    assert found.min() >= 0


@pytest.mark.parametrize("op", sorted(operators.KEEPING_SIGN))
def test_the_sign_of_the_first_input_stays(op, x):
    assert run(op, np.abs(x)).min() >= 0
    assert run(op, -np.abs(x)).max() <= 0


@pytest.mark.parametrize("op", sorted(operators.KEEPING_SIGN_OF_ALL))
def test_the_sign_of_all_inputs_counts(op, x):
    assert run(op, np.abs(x), np.abs(x)).min() >= 0
    assert run(op, np.abs(x), -3 * np.abs(x)).min() < 0


@pytest.mark.parametrize("op", sorted(operators.SATURATING))
def test_saturation(op, x):
    """Twice the scores change probabilities that are certain already by next to nothing."""
    scores = np.where(np.arange(4) == 1, 20.0, -20.0).astype(np.float32) * np.ones_like(x)
    found, twice = (np.exp(run(op, s)) if op == "LogSoftmax" else run(op, s) for s in (scores, 2 * scores))
    assert np.abs(twice - found).max() < 1e-6


def test_no_onnx_is_loaded_for_facts():
    """A report is read without it."""
    code = "import sys, trt_int8.graph.operators; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Parts of a tensor taken before it is transposed: the same values, INT8 in TensorRT-RTX."""

import numpy as np
import onnx
import pytest
from graphs import joint_attention, op, producer, ranges
from onnx import helper

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.graph.index import GraphIndex
from trt_int8.graph.passes.split_before_transpose import find_split, split_before_transpose
from trt_int8.graph.runtime import Session
from trt_int8.graph.tensors import ConstantOperands
from trt_int8.quantization import PLACEMENTS, quantize
from trt_int8.report import PrecisionReport

HOW = ("slice", "split", "gather")


def found(model):
    index = GraphIndex(model)
    constants = ConstantOperands(index, 17)
    return [parted for node in model.graph.node if (parted := find_split(node, index, constants))]


@pytest.mark.parametrize("how", HOW)
def test_the_same_values_bit_for_bit(how, make_model, rng):
    model = joint_attention(make_model, rng, how)
    x = {"x": rng.normal(size=(1, 6, 16)).astype(np.float32)}
    (expected,) = Session(model, optimize=False).run(x, ["y"], place="here")
    (parted,) = found(model)
    assert (parted.transposed, parted.axis) == ("turned", 0)
    assert split_before_transpose(model, splits=[parted])
    assert not split_before_transpose(model, splits=[])
    onnx.checker.check_model(model, full_check=True)
    assert producer(model, "turned") is None
    (values,) = Session(model, optimize=False).run(x, ["y"], place="here")
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("heads", [2, 4])
def test_the_product_multiplies_in_int8(how, heads, make_model, rng):
    model = joint_attention(make_model, rng, how, heads=heads, width=16, tokens=32)
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    amax = ranges(**dict.fromkeys(names, 2.0))
    rtx = PLACEMENTS["rtx"]
    built = [product(model, amax, p) for p in (rtx, rtx.without("parts-before-transpose"))]
    assert built[0][0] == "int8"
    if how == "gather":  # TensorRT-RTX finds the parts of Slice and Split only
        assert built == [("int8", built[0][1])] * 2
    else:
        assert built[1] == ("weight_dequantized", built[0][1] + 2)


def product(model, amax, placement):
    """Precision of the node ``product``, and compute kernels in all."""
    log = BuildLog()
    build_explicit(quantize(model, amax, placement=placement).model, tensorrt=load("tensorrt_rtx"), log=log)
    build = PrecisionReport.from_lines(log.lines).last
    (node,) = [node for node in build.nodes if node.node == "product"]
    return node.precision, len(build.compute_layers)


def test_what_reads_the_transposed_tensor_otherwise_keeps_it(make_model, rng):
    inputs, weights = (
        {"x": [2, 3, 4]},
        {"zero": np.array([0]), "one": np.array([1]), "pair": np.array([0, 1])},
    )
    turn = op("Transpose", "x", "t", perm=[2, 0, 1])
    first = op("Slice", "t zero one zero", "a")

    def parts(*nodes, outputs=("a",)):
        return found(make_model([turn, *nodes], inputs=inputs, outputs=list(outputs), weights=weights))

    assert len(parts(first, op("Gather", "t one", "b", axis=0))) == 1
    assert parts(first) == []  # a single part: nothing to gain
    assert parts(first, op("Relu", "t", "b")) == []
    assert parts(first, op("Gather", "t one", "b", axis=1)) == []  # along another axis
    assert parts(first, op("Gather", "t pair", "b", axis=0)) == []  # two at once
    assert parts(first, op("Gather", "t one", "b", axis=0), outputs=("a", "t")) == []


def test_indices_that_are_computed_stay(make_model):
    model = make_model(
        [
            op("Shape", "x", "end", start=0, end=1),
            op("Transpose", "x", "t", perm=[1, 0]),
            *(op("Slice", "t zero end zero", name) for name in "ab"),
        ],
        inputs={"x": [2, 3]},
        outputs=["a", "b"],
        weights={"zero": np.array([0])},
    )
    assert found(model) == []


def test_every_second_element_is_no_part(make_model):
    model = make_model(
        [
            op("Transpose", "x", "t", perm=[1, 0]),
            *(op("Slice", "t zero end zero two", name) for name in "ab"),
        ],
        inputs={"x": [2, 4]},
        outputs=["a", "b"],
        weights={"zero": np.array([0]), "end": np.array([4]), "two": np.array([2])},
    )
    assert found(model) == []


def test_a_float_product_is_left_alone(make_model, rng):
    model = joint_attention(make_model, rng, "slice")
    names = {name for node in model.graph.node for name in (*node.input, *node.output)} - {"x"}
    result = quantize(model, ranges(**dict.fromkeys(names, 2.0)), placement="rtx")
    assert "product" not in result.nodes
    assert producer(result.model, "turned").op_type == "Transpose"


def test_split_keeps_its_sizes(make_model, rng):
    model = make_model(
        [
            op("Transpose", "x", "t", perm=[1, 0, 2]),
            helper.make_node("Split", ["t", "sizes"], ["a", "b"], name="s", axis=-1),
        ],
        inputs={"x": [2, 3, 5]},
        outputs=["a", "b"],
        weights={"sizes": np.array([2, 3])},
    )
    x = {"x": rng.normal(size=(2, 3, 5)).astype(np.float32)}
    expected = Session(model, optimize=False).run(x, ["a", "b"], place="here")
    split_before_transpose(model, splits=found(model))
    values = Session(model, optimize=False).run(x, ["a", "b"], place="here")
    assert [value.shape for value in values] == [(3, 2, 2), (3, 2, 3)]
    for one, other in zip(values, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_splits_whose_first_parts_nobody_wants(make_model):
    split = ["", "a"], ["", "b"]
    model = make_model(
        [
            op("Transpose", "x", "t", perm=[1, 0]),
            *(helper.make_node("Split", ["t", "sizes"], outputs, axis=0) for outputs in split),
            op("Neg", "a", "y"),
            op("Neg", "b", "z"),
        ],
        inputs={"x": [2, 3]},
        outputs=["y", "z"],
        weights={"sizes": np.array([1, 2])},
    )
    split_before_transpose(model, splits=found(model))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count("Split") == 2
    assert {name for node in model.graph.node for name in node.output} >= {"a", "b"}

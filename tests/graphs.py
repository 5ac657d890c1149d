"""Small graphs and what to look for in their Q/DQ form, for the tests of this folder."""

import numpy as np
from onnx import helper, numpy_helper

from trt_int8.ranges import Ranges, TensorRange


def ranges(**amax: float) -> Ranges:
    return Ranges({name: TensorRange(value, source="test") for name, value in amax.items()})


def producer(model, tensor):
    return next((node for node in model.graph.node if tensor in node.output), None)


def node(model, name):
    return next(node for node in model.graph.node if node.name == name)


def initializer(model, name):
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def has_pair(model, name, slot=0):
    """Whether input ``slot`` of a node comes from a DequantizeLinear."""
    found = producer(model, node(model, name).input[slot])
    return found is not None and found.op_type == "DequantizeLinear"


def scale(model, name, slot=0):
    """The scale in front of an input; None if it reads the float tensor."""
    found = producer(model, node(model, name).input[slot])
    if found is None or found.op_type != "DequantizeLinear":
        return None
    return initializer(model, found.input[1])


def conv(x, w, y, name, **attributes):
    return helper.make_node("Conv", [x, w], [y], name=name, pads=[1, 1, 1, 1], **attributes)


def op(op_type, inputs, output, name=None, **attributes):
    return helper.make_node(op_type, inputs.split(), [output], name=name or output, **attributes)


def weight(rng, *shape):
    return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def joint_attention(make_model, rng, how, *, heads=2, width=8, tokens=6, **weights):
    """Attention whose query, key and value are one product, taken apart behind a Transpose by ``how``."""
    channels = heads * width
    if how == "split":
        parts = [
            helper.make_node("Split", ["turned"], ["q1", "k1", "v1"], name="split", axis=0),
            *(op("Squeeze", f"{name}1 first", name) for name in "qkv"),
        ]
    elif how == "gather":
        parts = [op("Gather", f"turned i{i}", name, axis=0) for i, name in enumerate("qkv")]
    else:
        parts = [op("Slice", f"turned a{i} b{i} first", f"{name}1") for i, name in enumerate("qkv")]
        parts += [op("Squeeze", f"{name}1 first", name) for name in "qkv"]
    numbers = {f"i{i}": np.int64(i if i < 2 else -1) for i in range(3)}
    limits = {f"{name}{i}": np.array([i + (name == "b")]) for i in range(3) for name in "ab"}
    return make_model(
        [
            op("MatMul", "x w", "product"),
            op("Add", "product bias", "biased"),
            op("Reshape", "biased sizes", "heads"),
            op("Transpose", "heads", "turned", perm=[2, 0, 3, 1, 4]),
            *parts,
            op("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
            op("MatMul", "q kt", "scores"),
            op("Softmax", "scores", "p", axis=-1),
            op("MatMul", "p v", "y"),
        ],
        inputs={"x": [1, tokens, channels]},
        outputs=["y"],
        weights={
            "w": weight(rng, channels, 3 * channels),
            "bias": weight(rng, 3 * channels),
            "sizes": np.array([1, tokens, 3, heads, width]),
            "first": np.array([0]),
            **numbers,
            **limits,
            **weights,
        },
    )


def weight_of(model, name, slot=1):
    """What a node reads as its weight: (int8 values, scales, axis)."""
    dequantize = producer(model, node(model, name).input[slot])
    assert dequantize.op_type == "DequantizeLinear"
    axis = next((a.i for a in dequantize.attribute if a.name == "axis"), None)
    values, scales, zero_points = (initializer(model, n) for n in dequantize.input)
    assert values.dtype == zero_points.dtype == np.int8
    assert not zero_points.any()
    assert zero_points.shape == scales.shape
    return values, scales, axis


def activation_scale(model, name, slot=0):
    """The scale of the Q/DQ pair in front of an input; None if it reads the float tensor."""
    dequantize = producer(model, node(model, name).input[slot])
    if dequantize.op_type != "DequantizeLinear":
        return None
    quantize_ = producer(model, dequantize.input[0])
    assert quantize_.op_type == "QuantizeLinear"
    assert list(quantize_.input[1:]) == list(dequantize.input[1:])
    return initializer(model, dequantize.input[1])

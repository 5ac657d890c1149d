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

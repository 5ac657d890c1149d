"""Random small networks, as a hypothesis strategy."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

_ACTIVATIONS = ["Relu", "LeakyRelu", "HardSwish", "Clip", "SiLU", "GELU", "Tanh"]

MANY_TOKENS = 32


@dataclass
class Network:
    """A network under construction; ``x`` is the last tensor, ``shape`` its shape."""

    rng: np.random.Generator
    shape: list[int]
    x: str = "x"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.input_shape = list(self.shape)

    def add(self, op_type, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [name], name=f"{op_type}{len(self.nodes)}", **attributes)
        )
        return name

    def weight(self, *shape, fan_in=None):
        name = f"w{len(self.weights)}"
        scale = 1 / np.sqrt(fan_in or np.prod(shape[1:]) or 1)
        self.weights[name] = (self.rng.normal(size=shape) * scale).astype(np.float32)
        return name

    def constant(self, value):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def model(self, opset):
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info(self.x, TensorProto.FLOAT, self.shape)],
            [numpy_helper.from_array(v, k) for k, v in self.weights.items() if k in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _convolution(draw, net):
    batch, channels, height, width = net.shape
    kernel = draw(st.sampled_from([1, 3] if min(height, width) >= 3 else [1]))
    group = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    outputs = draw(st.sampled_from([c for c in (4, 6, 8, 16) if c % group == 0] or [channels]))
    pads = draw(st.sampled_from([[0] * 4, [1] * 4, [0, 1, 1, 0]])) if kernel == 3 else [0] * 4
    stride = draw(st.sampled_from([1, 2])) if min(height, width) >= 8 else 1
    inputs = [net.x, net.weight(outputs, channels // group, kernel, kernel)]
    if draw(st.booleans()):
        inputs.append(net.constant(net.rng.normal(size=outputs).astype(np.float32) / 4))
    net.x = net.add("Conv", *inputs, group=group, pads=pads, strides=[stride, stride])
    height = (height + pads[0] + pads[2] - kernel) // stride + 1
    width = (width + pads[1] + pads[3] - kernel) // stride + 1
    net.shape = [batch, outputs, height, width]
    if draw(st.booleans()):
        vectors = [net.constant(net.rng.uniform(0.5, 1.5, outputs).astype(np.float32)) for _ in range(4)]
        net.x = net.add("BatchNormalization", net.x, *vectors)


def _transposed(draw, net):
    batch, channels, height, width = net.shape
    group = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
    net.x = net.add(
        "ConvTranspose",
        net.x,
        net.weight(channels, 4 // group, 2, 2, fan_in=channels),
        strides=[2, 2],
        group=group,
    )
    net.shape = [batch, 4, 2 * height, 2 * width]


def _residual(draw, net):
    identity, channels = net.x, net.shape[1]
    weight = net.weight(channels, channels, 3, 3)
    first = net.add("Relu", net.add("Conv", net.x, weight, pads=[1] * 4))
    # Shared weights, a branch before or behind, an identity or a projection.
    second = net.add(
        "Conv", first, weight if draw(st.booleans()) else net.weight(channels, channels, 3, 3), pads=[1] * 4
    )
    if draw(st.booleans()):
        identity = net.add("Conv", identity, net.weight(channels, channels, 1, 1))
    operands = [second, identity] if draw(st.booleans()) else [identity, second]
    net.x = net.add("Add", *operands)


def _concat(draw, net):
    channels = net.shape[1]
    branch = net.add("Conv", net.x, net.weight(4, channels, 1, 1))
    parts = [net.x, branch] if draw(st.booleans()) else [branch, net.x, branch]
    net.x = net.add("Concat", *parts, axis=1)
    net.shape[1] = channels + 4 * (len(parts) - 1)


def _pool(draw, net):
    if min(net.shape[2:]) < 4:
        return
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    net.x = net.add(kind, net.x, kernel_shape=[2, 2], strides=[2, 2])
    net.shape[2:] = [net.shape[2] // 2, net.shape[3] // 2]


def _activation(draw, net):
    kind = draw(st.sampled_from(_ACTIVATIONS))
    x = net.x
    if kind == "SiLU":
        net.x = net.add("Mul", x, net.add("Sigmoid", x))
    elif kind == "GELU":
        erf = net.add("Erf", net.add("Div", x, net.constant(np.float32(np.sqrt(2)))))
        gate = net.add("Add", erf, net.constant(np.float32(1)))
        net.x = net.add("Mul", net.add("Mul", x, gate), net.constant(np.float32(0.5)))
    elif kind == "Clip":
        net.x = net.add("Clip", x, net.constant(np.float32(-1)), net.constant(np.float32(6)))
    else:
        net.x = net.add(kind, x)


def _head(draw, net):
    """Flatten and a Gemm or MatMul, or a few tokens and attention."""
    batch, channels, height, width = net.shape
    kind = draw(st.sampled_from(["gemm", "matmul", "batched", "attention", "none"]))
    if kind == "none":
        return
    if kind in ("gemm", "matmul"):
        features = channels * height * width
        net.x = net.add("Flatten", net.x)
        if kind == "matmul":
            net.x = net.add("MatMul", net.x, net.weight(features, 10, fan_in=features))
        elif draw(st.booleans()):
            bias = net.constant(net.rng.normal(size=10).astype(np.float32))
            net.x = net.add("Gemm", net.x, net.weight(10, features), bias, transB=1, alpha=0.5, beta=2.0)
        else:
            net.x = net.add("Gemm", net.x, net.weight(features, 10, fan_in=features))
        net.shape = [batch, 10]
        return
    tokens = height * width
    flat = net.add("Reshape", net.x, net.constant(np.array([batch, channels, tokens])))
    x = net.add("Transpose", flat, perm=[0, 2, 1])
    if kind == "batched":
        net.x = net.add("MatMul", x, net.weight(batch, channels, 8, fan_in=channels))
        net.shape = [batch, tokens, 8]
        return
    query, key, value = (net.add("MatMul", x, net.weight(channels, 8, fan_in=channels)) for _ in range(3))
    scores = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 2, 1]))
    scaled = net.add("Mul", scores, net.constant(np.float32(8**-0.5)))
    if tokens > MANY_TOKENS:
        # Scores capped at ±½: no token gets more than e / tokens, less than the 1/8 from which on Softmax has
        # the range [0, 1]. In that range rows of small values beside rows with a peak have no codes left.
        scaled = net.add("Mul", net.add("Tanh", scaled), net.constant(np.float32(0.5)))
    net.x = net.add("MatMul", net.add("Softmax", scaled, axis=-1), value)
    net.shape = [batch, tokens, 8]


_BLOCKS = [_convolution, _residual, _concat, _pool, _activation, _transposed]


@st.composite
def networks(draw):
    """A model with at least one convolution, up to five further blocks, and a head."""
    shape = [
        draw(st.sampled_from([1, 2])),
        draw(st.sampled_from([3, 4, 8])),
        draw(st.sampled_from([6, 8, 11])),
        8,
    ]
    net = Network(np.random.default_rng(draw(st.integers(0, 2**16))), shape)
    _convolution(draw, net)
    for block in draw(st.lists(st.sampled_from(_BLOCKS), max_size=5)):
        block(draw, net)
    _head(draw, net)
    return net.model(draw(st.sampled_from([14, 17, 21])))

"""Small classifiers of the sample's digits: fixed random features, and a head fitted to them.

Each has one node that INT8 ruins, and that nothing but a search finds: it reads a tensor whose channels differ by a
factor of 3,000, and what reads its output divides that out again.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_int8.graph.runtime import Session

#: Images in a batch; the networks take no other number.
BATCH = 20
_SPREAD = 3000


@dataclass
class Layers:
    """Nodes in the order they are added, with random weights."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def constant(self, name, value):
        self.weights[name] = np.asarray(value, np.asarray(value).dtype)
        return name

    def random(self, name, *shape):
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        values = self.rng.normal(size=shape) * np.sqrt(2 / fan_in)
        return self.constant(name, values.astype(np.float32))

    def conv(self, name, x, inputs, outputs, size, **attributes):
        group = attributes.get("group", 1)
        weight = self.random(f"{name}_w", outputs, inputs // group, size, size)
        return self.add("Conv", name, x, weight, pads=[size // 2] * 4, **attributes)

    def fragile(self, x, channels, weight, op):
        """Channels spread, ``op`` by ``weight``, and gathered again."""
        factors = np.geomspace(1, _SPREAD, channels).astype(np.float32)
        shape = (1, channels, 1, 1) if op == "Conv" else (channels,)
        spread = self.constant("spread", factors.reshape(shape))
        wide = self.add("Mul", "spreads", x, spread)
        by = self.constant("fragile_w", weight)
        return self.add("Div", "gathers", self.add(op, "fragile", wide, by), spread)

    def model(self, features, count, digits):
        """With a head that ridge regression fits to the first 500 digits."""
        flat = self._model(features, [BATCH, count])
        session = Session(flat, optimize=False)
        images, labels = digits
        found = [session.run({"image": part}, [features], place="test")[0] for part in batches(images)]
        x = np.concatenate(found).astype(np.float64)
        centre = x.mean(axis=0)
        x -= centre
        hits = np.eye(10)[labels[: len(x)]]
        head = np.linalg.solve(x.T @ x + 1e-2 * np.trace(x.T @ x) / count * np.eye(count), x.T @ (hits - 0.1))
        weight = self.constant("head_w", head.astype(np.float32))
        bias = self.constant("head_b", (0.1 - centre @ head).astype(np.float32))
        self.nodes.append(helper.make_node("Gemm", [features, weight, bias], ["scores"], "head"))
        return self._model("scores", [BATCH, 10])

    def _model(self, output, shape):
        graph = helper.make_graph(
            self.nodes,
            "trained",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [BATCH, 1, 28, 28])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches(images):
    """Whole batches of ``images``."""
    return [images[i : i + BATCH] for i in range(0, len(images) - BATCH + 1, BATCH)]


def branches(digits):
    """Depthwise and residual convolutions, a max-pool and a concatenation; 10 nodes that multiply."""
    net = Layers(np.random.default_rng(0))
    x = net.add("Relu", "stem_relu", net.conv("stem", "image", 1, 24, 5, strides=[2, 2]))
    x = net.add("Relu", "wide_relu", net.conv("wide", x, 24, 48, 1))
    x = net.add("Relu", "depthwise_relu", net.conv("depthwise", x, 48, 48, 3, group=48))
    x = net.conv("narrow", x, 48, 24, 1)
    x = net.fragile(x, 24, np.eye(24, dtype=np.float32)[:, :, None, None], "Conv")
    y = net.add("Relu", "first_relu", net.conv("first", x, 24, 24, 3))
    x = net.add("Relu", "sum_relu", net.add("Add", "sum", x, net.conv("second", y, 24, 24, 3)))
    x = net.add("MaxPool", "pool", x, kernel_shape=[2, 2], strides=[2, 2])
    sides = [
        net.add("Relu", f"{side}_relu", net.conv(side, x, 24, 12, k))
        for side, k in (("left", 1), ("right", 3))
    ]
    x = net.add("Concat", "both", *sides, axis=1)
    shape = net.constant("flat", np.array([BATCH, 24 * 49]))
    return net.model(net.add("Reshape", "flatten", x, shape), 24 * 49, digits)


def attention(digits):
    """Patches, one block of attention and a perceptron; 10 nodes that multiply."""
    width = 32
    net = Layers(np.random.default_rng(0))
    x = net.add("Conv", "patches", "image", net.random("patches_w", width, 1, 4, 4), strides=[4, 4])
    tokens = net.constant("tokens", np.array([BATCH, width, 49]))
    x = net.add("Transpose", "rows", net.add("Reshape", "tokens_of", x, tokens), perm=[0, 2, 1])
    x = net.fragile(x, width, np.eye(width, dtype=np.float32), "MatMul")
    query, key, value = (
        net.add("MatMul", n, x, net.random(f"{n}_w", width, width)) for n in ("query", "key", "value")
    )
    scores = net.add("MatMul", "scores_of", query, net.add("Transpose", "turned", key, perm=[0, 2, 1]))
    scaled = net.add("Mul", "scaled", scores, net.constant("scale", np.float32(0.1)))
    mixed = net.add("MatMul", "mixed", net.add("Softmax", "softmax", scaled, axis=-1), value)
    x = net.add("Add", "first_sum", x, net.add("MatMul", "out", mixed, net.random("out_w", width, width)))
    up = net.add("Relu", "up_relu", net.add("MatMul", "up", x, net.random("up_w", width, 2 * width)))
    x = net.add("Add", "second_sum", x, net.add("MatMul", "down", up, net.random("down_w", 2 * width, width)))
    shape = net.constant("flat", np.array([BATCH, 49 * width]))
    return net.model(net.add("Reshape", "flatten", x, shape), 49 * width, digits)

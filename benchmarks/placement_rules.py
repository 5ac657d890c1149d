"""What each placement rule changes in the engine of TensorRT-RTX: the table of docs/placement.md.

Every model is quantized twice, with all rules and without one, and built for the same target. INT8 counts
the nodes that multiply in INT8; KB adds up what all kernels read and write, from the layer information.

    python benchmarks/placement_rules.py [target]
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.quantization import RULES, Placement, quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.report import PrecisionReport

C, SIDE = 64, 32
IMAGE = {"x": [1, C, SIDE, SIDE]}
BYTES = {"int8": 1, "bool": 1, "fp16": 2, "bf16": 2, "fp32": 4}
RNG = np.random.default_rng(0)


def op(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs.split(), [output], name=output, **attributes)


def conv(x, w, y, **attributes):
    return op("Conv", f"{x} {w}", y, pads=[1, 1, 1, 1], **attributes)


def relu(x, y):
    return op("Relu", x, y)


def weight(*shape):
    return (RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


K3 = {f"w{i}": weight(C, C, 3, 3) for i in range(4)}
HALF = {"half": np.float32(0.5), "one": np.float32(1), "c": np.float32(0.0447), "k": np.float32(0.798)}
#: Heads of attention, tokens.
HEADS, TOKENS = 4, 32
INDICES = {f"{name}{i}": np.array([i + (name == "b")]) for i in range(3) for name in "ab"}
VECTORS = {name: RNG.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmv"}
BASIC = [conv("x", "w0", "a0"), relu("a0", "r0"), conv("r0", "w1", "a1")]
GELU = [
    op("Mul", "a0 a0", "p2"), op("Mul", "p2 a0", "p3"), op("Mul", "p3 c", "cp3"), op("Add", "a0 cp3", "sum"),
    op("Mul", "sum k", "inner"), op("Tanh", "inner", "tanh"), op("Add", "tanh one", "t1"),
    op("Mul", "a0 t1", "at"), op("Mul", "at half", "g"),
]  # fmt: skip

#: what is shown → (rule left out, nodes, inputs, outputs, weights)
CASES = {
    "identity quantized for a convolution": (
        "residual-add reuse",
        [*BASIC, op("Add", "a1 r0", "s"), relu("s", "t"), conv("t", "w2", "y")],
        IMAGE,
        "y",
        K3,
    ),
    "identity from a downsampling convolution": (
        "residual-add",
        [*BASIC, op("Conv", "r0 d", "down"), op("Add", "a1 down", "s"), relu("s", "t"), conv("t", "w2", "y")],
        IMAGE,
        "y",
        {**K3, "d": weight(C, C, 1, 1)},
    ),
    "Add of two activations, one quantized": (
        "weightless reuse",
        [*BASIC, relu("a1", "r1"), op("Add", "r0 r1", "s"), conv("s", "w2", "y")],
        IMAGE,
        "y",
        K3,
    ),
    "AveragePool between convolutions": (
        "weightless",
        [
            conv("x", "w0", "a0"),
            relu("a0", "r0"),
            op("AveragePool", "r0", "p", kernel_shape=[2, 2], strides=[2, 2]),
            conv("p", "w1", "y"),
        ],
        IMAGE,
        "y",
        K3,
    ),
    "Concat of a quantized tensor": (
        "concat-scales",
        [*BASIC, relu("a1", "r1"), op("Concat", "r0 r1", "s", axis=1), op("Conv", "s d", "y")],
        IMAGE,
        "y",
        {**K3, "d": weight(C, 2 * C, 1, 1)},
    ),
    "MaxPool of a quantized tensor": (
        "max-pool-scales",
        [
            conv("x", "w0", "a0"),
            relu("a0", "r0"),
            op("MaxPool", "r0", "p", kernel_shape=[2, 2], strides=[2, 2]),
            conv("p", "w1", "y"),
            conv("r0", "w2", "z"),
        ],
        IMAGE,
        "y z",
        K3,
    ),
    "ConvTranspose": (
        "transposed-convolution",
        [conv("x", "w0", "a0"), op("ConvTranspose", "a0 t", "y", strides=[2, 2])],
        IMAGE,
        "y",
        {**K3, "t": weight(C, C, 2, 2)},
    ),
    "MatMul, constant matrix": (
        "per-channel-weights",
        [op("MatMul", "x m", "y")],
        {"x": [16, C]},
        "y",
        {"m": weight(C, 256)},
    ),
    "MatMul, batch of constant matrices": (
        "per-channel-batches",
        [op("MatMul", "x m", "y")],
        {"x": [4, 16, C]},
        "y",
        {"m": weight(4, C, 256)},
    ),
    "attention": (
        "matmul-activations",
        [
            op("MatMul", "q k", "s"),
            op("Softmax", "s", "p", axis=-1),
            op("MatMul", "p v", "o"),
            op("MatMul", "o m", "y"),
        ],
        {"q": [4, C, C], "k": [4, C, C], "v": [4, C, C]},
        "y",
        {"m": weight(C, C)},
    ),
    "depthwise convolution between two others": (
        "convolution",
        [
            op("Conv", "x p0", "a"),
            relu("a", "r"),
            conv("r", "d", "b", group=C),
            relu("b", "s"),
            op("Conv", "s p1", "o"),
            op("GlobalAveragePool", "o", "gap"),
            op("Flatten", "gap", "f"),
            op("Gemm", "f m", "y"),
        ],
        IMAGE,
        "y",
        {"p0": weight(C, C, 1, 1), "p1": weight(C, C, 1, 1), "d": weight(C, 1, 3, 3), "m": weight(C, 10)},
    ),
    "BatchNormalization behind a convolution": (
        "fold-batch-norm",
        [
            conv("x", "w0", "a0"),
            op("BatchNormalization", "a0 g h m v", "n"),
            relu("n", "r0"),
            conv("r0", "w1", "y"),
        ],
        IMAGE,
        "y",
        {**K3, **VECTORS},
    ),
    "three convolutions without bias, ReLU between them": (
        "one-scale-convolution",
        [*BASIC, relu("a1", "r1"), conv("r1", "w2", "y")],
        IMAGE,
        "y",
        K3,
    ),
    "attention, one product for query, key and value": (
        "parts-before-transpose",
        [
            op("MatMul", "x m", "product"),
            op("Reshape", "product sizes", "heads"),
            op("Transpose", "heads", "turned", perm=[2, 0, 3, 1, 4]),
            *(op("Slice", f"turned a{i} b{i} a0", f"{name}1") for i, name in enumerate("qkv")),
            *(op("Squeeze", f"{name}1 a0", name) for name in "qkv"),
            op("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
            op("MatMul", "q kt", "s"),
            op("Softmax", "s", "p", axis=-1),
            op("MatMul", "p v", "y"),
        ],
        {"x": [1, TOKENS, C]},
        "y",
        {"m": weight(C, 3 * C), "sizes": np.array([1, TOKENS, 3, HEADS, C // HEADS]), **INDICES},
    ),
    "attention, scores divided by a power of constants": (
        "fold-small-constants",
        [
            op("MatMul", "q k", "s"),
            op("Pow", "width half", "root"),
            op("Div", "s root", "d"),
            op("Softmax", "d", "p", axis=-1),
            op("MatMul", "p v", "o"),
            op("MatMul", "o m", "y"),
        ],
        {"q": [1, 4, TOKENS, C], "k": [1, 4, C, TOKENS], "v": [1, 4, TOKENS, C]},
        "y",
        {"m": weight(C, C), "width": np.float32(C), "half": np.float32(0.5)},
    ),
    "GELU written out, its input quantized too": (
        "fused-activations",
        [conv("x", "w0", "a0"), *GELU, conv("g", "w1", "y"), conv("a0", "w2", "z")],
        IMAGE,
        "y z",
        {**K3, **HALF},
    ),
}


def make(nodes, inputs, outputs, weights):
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items() if n in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    return model


def measure(model, placement, target):
    """INT8 nodes, kernels, kilobytes moved."""
    names = [n for node in model.graph.node for n in (*node.input, *node.output)]
    # Ranges that all differ, so that a shared scale is seen.
    ranges = Ranges(
        {n: TensorRange(2.0 + i / 100, source="benchmark") for i, n in enumerate(dict.fromkeys(names))}
    )
    log = BuildLog()
    build_explicit(
        quantize(model, ranges, placement=placement).model,
        tensorrt=load("tensorrt_rtx"),
        log=log,
        target=target,
    )
    build = PrecisionReport.from_lines(log.lines).last
    moved = sum(
        BYTES.get(tensor.dtype, 4) * int(np.prod(tensor.dims or (1,)))
        for layer in build.layers
        for tensor in (*layer.inputs, *layer.constants, *layer.outputs)
    )
    multiplying = {
        node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")
    }
    counted = sum(node.precision == "int8" and node.node in multiplying for node in build.nodes)
    return counted, len(build.layers), round(moved / 1024)


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else "sm89"
    print("| model | rule | INT8 with / without | kernels with / without | KB with / without |")
    print("| --- | --- | --- | --- | --- |")
    for title, (rules, nodes, inputs, outputs, weights) in CASES.items():
        model = make(nodes, inputs, outputs, weights)
        every = Placement("all", RULES)
        results = [measure(model, p, target) for p in (every, every.without(*rules.split()))]
        cells = " | ".join(f"{a} / {b}" for a, b in zip(*results, strict=True))
        print(f"| {title} | {' '.join(f'`{r}`' for r in rules.split())} | {cells} |")


if __name__ == "__main__":
    main()

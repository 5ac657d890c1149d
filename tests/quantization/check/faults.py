"""Q/DQ models with one fault each, made by hand, for the tests of this folder."""

import numpy as np
import onnx
from graphs import op, weight
from onnx import TensorProto, helper, numpy_helper

from trt_int8.engine import BuildLog, build_explicit
from trt_int8.report import PrecisionReport

C = 16
X = [1, C, 8, 8]
RNG = np.random.default_rng(5)
W = weight(RNG, C, C, 3, 3)
S = (np.abs(W).max(axis=(1, 2, 3)) / 127).astype(np.float32)
Q8 = np.clip(np.rint(W / S.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)


def linear(kind, x, y, s="s", z="z", **attributes):
    inputs = [x, s] + ([z] if z else [])
    return helper.make_node(kind, inputs, [y], name=f"{y}_node", **attributes)


def q(x, y, s="s", z="z", **attributes):
    return linear("QuantizeLinear", x, y, s, z, **attributes)


def dq(x, y, s="s", z="z", **attributes):
    return linear("DequantizeLinear", x, y, s, z, **attributes)


def conv(x, w, y, bias=""):
    return op("Conv", f"{x} {w} {bias}".strip(), y, pads=[1, 1, 1, 1])


def build(nodes, opset=17, outputs="y", **special):
    values = {
        "s": np.float32(0.03),
        "z": np.int8(0),
        "w": Q8,
        "ws": S,
        "wz": np.zeros(C, np.int8),
        **special,
    }
    used = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    if all(o.type.tensor_type.HasField("shape") for o in inferred.graph.output):
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
    return model


PAIR = [q("x", "xq"), dq("xq", "xd")]
WEIGHT = [dq("w", "wd", "ws", "wz", axis=0)]
U8 = np.clip(Q8.astype(int) + 128, 0, 255).astype(np.uint8)


def axis1():
    scales = (np.abs(W).max(axis=(0, 2, 3)) / 127).astype(np.float32)
    values = np.rint(W / scales.reshape(1, -1, 1, 1)).astype(np.int8)
    return {"w": values, "ws": scales}


def residual(*nodes, **special):
    start = [*PAIR, *WEIGHT, conv("xd", "wd", "a"), op("Relu", "a", "r"), q("r", "rq"), dq("rq", "rd")]
    return build([*start, conv("rd", "wd", "b"), *nodes], **special)


#: check → (model, node it must name, lowest SQNR in dB of the repaired model against the faulty one)
CASES = {
    "opset": (lambda: build([*PAIR, dq("w", "wd", "ws", "wz"), conv("xd", "wd", "y")], opset=12), "wd_node", None),
    "int32-bias": (lambda: build([*PAIR, *WEIGHT, dq("b", "bd", "bs", "", axis=0), conv("xd", "wd", "y", "bd")], b=np.arange(C, dtype=np.int32), bs=S * np.float32(0.03)), "bd_node", 90),
    "scalar-constant": (lambda: build([*PAIR, *WEIGHT, conv("xd", "wd", "a"), dq("c", "cd"), op("Mul", "a cd", "y")], c=np.int8(7)), "cd_node", 90),
    "scale": (lambda: build([*PAIR, dq("w", "wd", "ws", "wz", axis=0), conv("xd", "wd", "y")], ws=np.where(np.arange(C) == 3, 0, np.where(np.arange(C) == 5, -S, S)).astype(np.float32)), "wd_node", 60),
    "symmetric-int8": (lambda: build([q("x", "xq", z="u"), dq("xq", "xd", z="u"), dq("wu", "wd", "ws", "wu8", axis=0), conv("xd", "wd", "y")], u=np.uint8(128), wu=U8, wu8=np.full(C, 128, np.uint8)), "xq_node", 35),
    "scale-rank": (lambda: build([q("x", "xq", "s1", "z1"), dq("xq", "xd", "s1", "z1"), *WEIGHT, conv("xd", "wd", "y")], s1=np.full(1, 0.03, np.float32), z1=np.zeros(1, np.int8)), "xq_node", None),
    "per-channel-activation": (lambda: build([q("x", "xq", "sv", "wz", axis=1), dq("xq", "xd", "sv", "wz", axis=1), *WEIGHT, conv("xd", "wd", "y")], sv=np.linspace(0.02, 0.03, C, dtype=np.float32)), "xq_node", 30),
    "weight-axis": (lambda: build([*PAIR, dq("w", "wd", "ws", "wz", axis=1), conv("xd", "wd", "y")], **axis1()), "y", 35),
    "missing-pair": (lambda: build([*PAIR, conv("xd", "wf", "y")], wf=W), "y", 35),
    "unread-pair": (lambda: build([*PAIR, *WEIGHT, conv("xd", "wd", "y"), q("y", "yq"), dq("yq", "yd")]), "yd_node", 90),
    "broken-fusion": (lambda: build([*PAIR, *WEIGHT, conv("xd", "wd", "a"), q("a", "aq"), dq("aq", "ad"), op("Relu", "ad", "r"), q("r", "rq"), dq("rq", "rd"), conv("rd", "wd", "y")]), "ad_node", 30),
    "residual-pair": (lambda: residual(op("Add", "b r", "y")), "y", 25),
    "concat-scales": (lambda: residual(q("b", "bq", "s2"), dq("bq", "bd", "s2"), op("Concat", "rd bd", "cat", axis=1), q("cat", "cq", "s2"), dq("cq", "cd", "s2"), dq("w2", "w2d"), conv("cd", "w2d", "y"), s2=np.float32(0.05), w2=np.concatenate([Q8, Q8], axis=1)), "cat", 15),
}  # fmt: skip


def int8_nodes(model, tensorrt):
    log = BuildLog()
    build_explicit(model, tensorrt=tensorrt, log=log)
    report = PrecisionReport.from_lines(log.lines).last
    convolutions = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    return {n.node: n.precision for n in report.nodes if n.node in convolutions}

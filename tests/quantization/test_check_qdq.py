"""check-qdq: each fault in a hand-made model, mended, built; and what onnxruntime's quantizer makes."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from graphs import op, weight
from onnx import TensorProto, helper, numpy_helper

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization import quantize
from trt_int8.quantization.check import CHECKS, check_qdq, fix_qdq
from trt_int8.quantization.validate import refuse_what_tensorrt_refuses
from trt_int8.ranges import Ranges, TensorRange
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


#: check → (model, node it must name, lowest SQNR in dB of the mended model against the faulty one)
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


@pytest.fixture(scope="module")
def tensorrt():
    return load("tensorrt_rtx")


def int8_nodes(model, tensorrt):
    log = BuildLog()
    build_explicit(model, tensorrt=tensorrt, log=log)
    report = PrecisionReport.from_lines(log.lines).last
    convolutions = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    return {n.node: n.precision for n in report.nodes if n.node in convolutions}


@pytest.mark.parametrize("name", CASES)
def test_found_named_mended_and_built(name, tensorrt):
    make, place, floor = CASES[name]
    model = make()
    before = model.SerializeToString()
    found = [finding for finding in check_qdq(model) if finding.rule == name]
    assert found
    assert place in {finding.node for finding in found}
    assert all(finding.message and finding.mend and finding.fixable for finding in found)
    checked = fix_qdq(model)
    assert model.SerializeToString() == before
    assert {finding.rule for finding in checked.fixed} >= {name}
    assert checked.left == ()
    assert set(int8_nodes(checked.model, tensorrt).values()) == {"int8"}
    if floor is not None:
        batches = [{"x": RNG.uniform(-3, 3, X).astype(np.float32)} for _ in range(3)]
        assert evaluate(model, checked.model, batches).outputs["y"].sqnr_db > floor


def test_every_check_has_a_case():
    unfixable = {"operator", "computed-scale"}
    assert {check.name for check in CHECKS if check.fix is None} == unfixable
    assert set(CASES) | unfixable == {check.name for check in CHECKS}


def dynamic_scale():
    nodes = [op("ReduceMax", "x", "s", keepdims=0), *PAIR, *WEIGHT, conv("xd", "wd", "y")]
    model = build(nodes)
    for tensor in [t for t in model.graph.initializer if t.name == "s"]:
        model.graph.initializer.remove(tensor)
    return model


def test_scales_that_are_computed():
    (first, *_) = check_qdq(dynamic_scale())
    assert (first.rule, first.severity, first.node, first.fixable) == (
        "computed-scale",
        "refused",
        "xq_node",
        False,
    )
    assert [f.rule for f in fix_qdq(dynamic_scale()).left][:1] == ["computed-scale"]


REFUSED = {check.name for check in CHECKS if check.severity == "refused"}


@pytest.mark.parametrize("name", sorted(REFUSED & set(CASES)))
def test_quantize_never_lets_out_what_tensorrt_refuses(name):
    with pytest.raises(QuantizationError, match="which should not happen; please report it: "):
        refuse_what_tensorrt_refuses(CASES[name][0]())


def test_tensorrt_itself_refuses_it(tmp_path):
    """In a process of its own: a refused build taints those after it. (It lets the opset pass.)"""
    names = sorted((REFUSED & set(CASES)) - {"opset"})
    for name in names:
        onnx.save(CASES[name][0](), tmp_path / f"{name}.onnx")
    code = f"""
import onnx
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import BuildError
for name in {names!r}:
    try:
        build_explicit(onnx.load(f"{tmp_path}/{{name}}.onnx"), tensorrt=load("tensorrt_rtx"), log=BuildLog())
    except BuildError:
        print(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == names


DEAD = [q("x", "xq", "s0"), dq("xq", "xd", "s0")]


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ([*DEAD, *WEIGHT, conv("xd", "wd", "y")], ["Conv"]),
        # The other reader of the weight keeps it in INT8.
        (
            [*PAIR, *WEIGHT, conv("xd", "wd", "a"), q("a", "aq", "s0"), dq("aq", "ad", "s0"), conv("ad", "wd", "y")],
            ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Conv"],
        ),
        ([*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td"), op("MatMul", "xd td", "y")], ["Relu", "MatMul"]),
        (
            [*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td"),
             op("Transpose", "td", "tt", perm=[0, 1, 3, 2]), op("MatMul", "xd tt", "y")],
            ["Relu", "Transpose", "MatMul"],
        ),
        ([*DEAD, *WEIGHT, op("MaxPool", "xd", "p", kernel_shape=[1, 1]), conv("p", "wd", "y")], ["MaxPool", "Conv"]),
    ],
    ids=["weight", "shared weight", "two activations", "moved", "max-pool"],
)  # fmt: skip
def test_what_reads_a_dead_activation_is_left_in_float_whole(nodes, left, tensorrt):
    model = build(nodes, s0=np.float32(0))
    finding = next(f for f in check_qdq(model) if f.rule == "scale")
    assert finding.message == "its scale is 0"
    checked = fix_qdq(model)
    assert checked.left == ()
    assert [n.op_type for n in checked.model.graph.node] == left
    live = fix_qdq(build(nodes, s0=np.float32(0.03))).model  # what it computes where the scale is sound
    batches = [{"x": np.random.default_rng(1).normal(size=X).astype(np.float32)}]
    assert evaluate(live, checked.model, batches).outputs["y"].sqnr_db > 25
    int8_nodes(checked.model, tensorrt)


def test_a_moved_tensor_that_is_an_output_stays_quantized():
    nodes = [
        *[*DEAD, op("Relu", "x", "t"), q("t", "tq"), dq("tq", "td")],
        *[op("Transpose", "td", "tt", perm=[0, 1, 3, 2]), op("MatMul", "xd tt", "y")],
    ]
    checked = fix_qdq(build(nodes, s0=np.float32(0), outputs="y tt"))
    assert checked.model.graph.node[3].input[0] == "td"
    assert [f.rule for f in checked.left] == ["missing-pair"]


def test_an_activation_without_a_pair_is_not_taken_for_a_dead_one():
    model = build(
        [*DEAD, *WEIGHT, conv("xd", "wd", "a"), op("Relu", "a", "r"), conv("r", "wd", "y")], s0=np.float32(0)
    )
    checked = fix_qdq(model)
    (finding,) = checked.left
    assert (finding.rule, finding.node, finding.fixable) == ("missing-pair", "y", False)
    assert "calibrated" in finding.mend


def test_a_bias_becomes_float_in_the_type_of_its_network():
    model = build(
        [*PAIR, *WEIGHT, op("Cast", "xd", "h", to=TensorProto.FLOAT16), op("Cast", "wd", "wh", to=TensorProto.FLOAT16),
         dq("b", "bd", "bs", "", output_dtype=TensorProto.FLOAT16), conv("h", "wh", "c", "bd"),
         op("Cast", "c", "y", to=TensorProto.FLOAT)],
        opset=23, b=np.arange(C, dtype=np.int32), bs=np.float32(0.01),
    )  # fmt: skip
    checked = fix_qdq(model)
    (bias,) = [t for t in checked.model.graph.initializer if t.name == "bd_float"]
    assert np.array_equal(numpy_helper.to_array(bias), (np.arange(C) * 0.01).astype(np.float16))


def test_uint8_around_128_keeps_its_scale_bit_for_bit():
    (scale,) = {
        float(numpy_helper.to_array(t))
        for t in fix_qdq(CASES["symmetric-int8"][0]()).model.graph.initializer
        if t.name.startswith("s") and not t.dims
    }
    assert scale == np.float32(0.03)


def test_of_two_convolutions_with_pairs_the_later_one_fuses():
    nodes = [
        *[*PAIR, *WEIGHT, conv("xd", "wd", "a"), q("a", "aq"), dq("aq", "ad")],
        *[conv("xd", "wd", "b"), q("b", "bq"), dq("bq", "bd"), op("Add", "ad bd", "y")],
    ]
    found = [finding for finding in check_qdq(build(nodes)) if finding.rule == "broken-fusion"]
    assert [finding.node for finding in found] == ["bd_node"]
    mended = fix_qdq(build(nodes))
    assert mended.left == ()
    assert list(next(n for n in mended.model.graph.node if n.op_type == "Add").input) == ["ad", "b"]


def test_a_relu_that_a_zero_point_implied_comes_back():
    # Quantizers drop Relu before codes that start at 0.
    nodes = [
        *PAIR,
        *WEIGHT,
        conv("xd", "wd", "a"),
        q("a", "aq", z="u"),
        dq("aq", "ad", z="u"),
        conv("ad", "wd", "y"),
    ]
    model = build(nodes, u=np.uint8(0))
    mended = fix_qdq(model).model
    quantizer = next(n for n in mended.graph.node if n.name == "aq_node")
    relu = next(n for n in mended.graph.node if n.output[0] == quantizer.input[0])
    assert relu.op_type == "Relu"
    batches = [{"x": RNG.uniform(-3, 3, X).astype(np.float32)} for _ in range(3)]
    assert evaluate(model, mended, batches).outputs["y"].sqnr_db > 30


def test_what_quantize_makes_has_no_findings(lenet_path):
    names = ["data", "pool1", "pool2_flat", "ip1"]
    model = quantize(lenet_path, Ranges({n: TensorRange(2.0, source="test") for n in names})).model
    assert check_qdq(model) == []


def float_network(rng):
    c = 8
    nodes = [
        op("Conv", "x w1 b1", "a", "conv1", pads=[1] * 4),
        op("Relu", "a", "r"),
        op("Conv", "r w2 b2", "b", "conv2", pads=[1] * 4),
        op("Add", "b r", "s", "add"),
        op("Relu", "s", "t"),
        op("MaxPool", "t", "p", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        op("Conv", "p w1 b1", "c", "conv3", pads=[1] * 4),
        op("Concat", "c p", "cat", "concat", axis=1),
        op("Mul", "cat half", "m"),
        op("GlobalAveragePool", "m", "g"),
        op("Flatten", "g", "f"),
        op("Gemm", "f fc fb", "l", "fc_node"),
        op("Add", "l one", "y", "last"),
    ]
    values = {
        "w1": weight(rng, c, c, 3, 3),
        "w2": weight(rng, c, c, 3, 3),
        "b1": rng.normal(size=c),
        "b2": rng.normal(size=c),
        "fc": weight(rng, 2 * c, 10),
        "fb": rng.normal(size=10),
        "half": 0.5,
        "one": 1.0,
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, c, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ORT = {
    "defaults": {},
    "uint8, int8 weights": {"activation_type": "QUInt8", "weight_type": "QInt8"},
    "uint8 both, per channel": {"activation_type": "QUInt8", "weight_type": "QUInt8", "per_channel": True},
    "int8 asymmetric": {"activation_type": "QInt8", "weight_type": "QInt8", "per_channel": True},
    "int8 symmetric": {
        "activation_type": "QInt8",
        "weight_type": "QInt8",
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
    "int16": {"activation_type": "QInt16", "weight_type": "QInt8", "per_channel": True},
}


@pytest.mark.filterwarnings("ignore")
class TestOnnxruntime:
    """What ``onnxruntime.quantization.quantize_static`` writes, as it comes."""

    @pytest.fixture
    def static(self, tmp_path, rng):
        from onnxruntime import quantization as ort

        model = float_network(rng)
        onnx.save(model, tmp_path / "float.onnx")
        batches = [{"x": rng.normal(size=(1, 8, 16, 16)).astype(np.float32)} for _ in range(8)]

        class Reader(ort.CalibrationDataReader):
            def __init__(self):
                self.rest = iter(batches)

            def get_next(self):
                return next(self.rest, None)

        def run(quant_format="QDQ", **options):
            for key in ("activation_type", "weight_type"):
                if key in options:
                    options[key] = getattr(ort.QuantType, options[key])
            ort.quantize_static(
                tmp_path / "float.onnx",
                tmp_path / "q.onnx",
                Reader(),
                quant_format=getattr(ort.QuantFormat, quant_format),
                **options,
            )
            return onnx.load(tmp_path / "q.onnx")

        return model, run, batches

    @pytest.mark.parametrize("case", ORT)
    def test_mended_it_builds_and_computes_the_same(self, static, case, tensorrt):
        model, run, batches = static
        found = run(**ORT[case])
        rules = {finding.rule for finding in check_qdq(found)}
        assert {"int32-bias", "scalar-constant", "broken-fusion"} <= rules
        assert ("symmetric-int8" in rules) == ("symmetric" not in case or "asymmetric" in case)
        checked = fix_qdq(found)
        assert checked.left == ()
        assert set(int8_nodes(checked.model, tensorrt).values()) == {"int8"}
        assert len(int8_nodes(checked.model, tensorrt)) == 4
        assert evaluate(model, checked.model, batches).outputs["y"].sqnr_db > 36

    def test_the_operator_format_cannot_be_mended(self, static):
        _, run, _ = static
        checked = fix_qdq(run("QOperator"))
        assert {"QLinearConv", "QLinearAdd"} <= {
            f.message.split()[-1] for f in checked.left if f.rule == "operator"
        }
        assert not any(f.fixable for f in checked.left if f.rule == "operator")

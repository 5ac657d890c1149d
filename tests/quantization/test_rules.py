"""Each placement rule on a graph that shows it, and the same test without the rule, which must fail."""

from collections.abc import Callable

import graphs
import numpy as np
import onnx
import pytest
from graphs import conv, has_pair, initializer, node, op, producer, ranges, scale, weight
from onnx import TensorProto, helper

from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.quantization import PLACEMENTS, RULES, Placement, quantize
from trt_int8.quantization.placement import placement_for

C = 4
X = {"x": [1, C, 8, 8]}
TESTS: dict[str, Callable] = {}


def rule(name: str):
    """Register a test of the rule ``name``: ``test(make_model, rng, placement)``."""

    def register(test):
        TESTS[name] = test
        return test

    return register


def everything(model: onnx.ModelProto, **special: float):
    """Ranges for all tensors, constants too, so that nothing but the rules keeps a node in float."""
    names = {n for nd in model.graph.node for n in (*nd.input, *nd.output) if n}
    return ranges(**{**dict.fromkeys(sorted(names), 2.0), **special})


def quantized(model, placement, **special):
    return quantize(model, everything(model, **special), placement=placement)


def conv_weights(rng, *names):
    return {name: weight(rng, C, C, 3, 3) for name in names}


@rule("bodies")
def bodies(make_model, rng, placement):
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["c", "w"], ["b"], name="inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["b2"])],
        "other",
        [],
        [helper.make_tensor_value_info("b2", TensorProto.FLOAT, None)],
    )
    model = make_model(
        [
            op("MatMul", "x w", "c"),
            helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=branch, else_branch=other),
        ],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "yes": np.array(True)},
    )
    result = quantized(model, placement)
    assert result.nodes == ("c",)
    body = node(result.model, "choice").attribute[0].g
    assert body.node[0].op_type in ("MatMul", "Identity")
    assert initializer(result.model, "w").dtype == np.float32  # the body reads it
    assert result.notes == ("choice: the body of If stays float",)


@rule("constant-operands")
def constant_operands(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "w v", "wv"), op("MatMul", "x wv", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "v": weight(rng, 4, 4)},
    )
    assert not {"wv"} & set(quantized(model, placement).nodes)


@rule("constant-addends")
def constant_addends(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w", "c", "c"),
            op("Add", "c half", "a"),
            conv("a", "w", "y", "y"),
            op("Add", "x half", "z"),
        ],
        inputs=X,
        outputs=["y", "z"],
        weights={**conv_weights(rng, "w"), "half": np.float32(0.5)},
    )
    result = quantized(model, placement)
    assert result.nodes == ("c", "y")
    assert not any(node(result.model, name).input[1] != "half" for name in ("a", "z"))


@rule("fused-activations")
def fused_activations(make_model, rng, placement):
    # GELU by tanh: x/2 (1 + tanh(k (x + c x³))). Its Add of two tensors is no residual connection. x is
    # quantized for conv2, and g for conv3, so the rules for Add would ask for pairs.
    model = make_model(
        [
            conv("i", "w", "x", "conv1"),
            op("Mul", "x x", "x2"),
            op("Mul", "x2 x", "x3"),
            op("Mul", "x3 c", "cx3"),
            op("Add", "x cx3", "sum"),
            op("Mul", "sum k", "inner"),
            op("Tanh", "inner", "t"),
            op("Add", "t one", "t1"),
            op("Mul", "x t1", "xt"),
            op("Mul", "xt half", "g"),
            conv("x", "w", "y1", "conv2"),
            conv("g", "w", "y2", "conv3"),
        ],
        inputs={"i": [1, C, 8, 8]},
        outputs=["y1", "y2"],
        weights={
            **conv_weights(rng, "w"),
            "c": np.float32(0.044715),
            "k": np.float32(0.79788),
            "one": np.float32(1),
            "half": np.float32(0.5),
        },
    )
    result = quantized(model, placement)
    assert result.nodes == ("conv1", "conv2", "conv3")


def _names(placement: Placement):
    return [r.name for r in placement.rules]


def _rtx():
    return _names(PLACEMENTS["rtx"])


@rule("concat-scales")
def concat_scales(make_model, rng, placement):
    # Two Concats in a row, so that the group is a transitive one.
    model = make_model(
        [
            conv("x", "w", "a", "conv1"),
            op("Concat", "x a", "c1", axis=1),
            op("Concat", "c1 x", "c2", axis=1),
            op("Conv", "c2 w12", "y", "conv2"),
        ],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w"), "w12": weight(rng, C, 3 * C, 1, 1)},
    )
    result = quantized(model, placement, x=1.0, a=5.0, c1=5.5, c2=4.0)
    assert scale(result.model, "conv1") == scale(result.model, "conv2") == np.float32(5.5 / 127)


@rule("max-pool-scales")
def max_pool_scales(make_model, rng, placement):
    model = make_model(
        [
            op("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
            op("Transpose", "p", "t", perm=[0, 1, 3, 2]),
            conv("t", "w", "y1", "conv1"),
            conv("x", "w", "y2", "conv2"),
        ],
        inputs=X,
        outputs=["y1", "y2"],
        weights=conv_weights(rng, "w"),
    )
    result = quantized(model, placement, x=3.0, p=2.0, t=1.0)
    assert scale(result.model, "conv1") == scale(result.model, "conv2") == np.float32(3 / 127)


def attention(make_model):
    return make_model(
        [
            op("MatMul", "q k", "s", "qk"),
            op("Softmax", "s", "p", "softmax", axis=-1),
            op("Identity", "p", "d", "identity"),
            op("MatMul", "d v", "o", "pv"),
            op("MatMul", "o w", "y", "projection"),
        ],
        inputs={"q": [2, 4, 8], "k": [2, 8, 4], "v": [2, 4, 8]},
        outputs=["y"],
        weights={"w": np.eye(8, dtype=np.float32)},
    )


@rule("softmax-range")
def softmax_range(make_model, rng, placement):
    result = quantized(attention(make_model), placement, p=0.3, d=0.3)
    assert scale(result.model, "pv") == np.float32(1 / 127)
    assert scale(result.model, "pv", 1) == np.float32(2 / 127)


def test_softmax_spread_over_many_tokens_keeps_its_range(make_model):
    result = quantized(attention(make_model), PLACEMENTS["tensorrt"], p=0.1, d=0.1)
    assert scale(result.model, "pv") == np.float32(0.1 / 127)
    assert result.notes == (
        "softmax: its values reach 0.1, too little for the range [0, 1]; the calibrated one is used",
    )


@rule("matmul-activations")
def matmul_activations(make_model, rng, placement):
    result = quantized(attention(make_model), placement)
    assert result.nodes == ("qk", "pv", "projection")
    assert all(has_pair(result.model, name, slot) for name in ("qk", "pv") for slot in (0, 1))


@rule("per-channel-weights")
def per_channel_weights(make_model, rng, placement):
    model = make_model([conv("x", "w", "y", "conv")], inputs=X, outputs=["y"], weights=conv_weights(rng, "w"))
    assert scale(quantized(model, placement).model, "conv", 1).shape == (C,)


@rule("per-channel-batches")
def per_channel_batches(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "x w", "y"), op("MatMul", "v x", "z")],
        inputs={"x": [3, 4, 8]},
        outputs=["y", "z"],
        weights={"w": weight(rng, 3, 8, 5), "v": weight(rng, 3, 6, 4)},
    )
    model = quantized(model, placement).model
    assert scale(model, "y", 1).shape == (5,)
    assert scale(model, "z", 0).shape == (6,)


@rule("convolution")
def convolution(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w", "a", "plain"),
            conv("a", "g", "b", "grouped", group=2),
            conv("b", "d", "c", "depthwise", group=C),
            op("Gemm", "f m", "y"),
        ],
        inputs={**X, "f": [1, 4]},
        outputs=["c", "y"],
        weights={
            "w": weight(rng, C, C, 3, 3),
            "g": weight(rng, C, C // 2, 3, 3),
            "d": weight(rng, C, 1, 3, 3),
            "m": weight(rng, 4, 4),
        },
    )
    result = quantized(model, placement)
    assert result.nodes == ("plain", "grouped", "depthwise", "y")
    assert all(
        has_pair(result.model, name, slot) for name in ("plain", "grouped", "depthwise") for slot in (0, 1)
    )
    assert {scale(result.model, name, 1).shape for name in ("plain", "grouped", "depthwise")} == {(C,)}


@rule("transposed-convolution")
def transposed_convolution(make_model, rng, placement):
    model = make_model(
        [
            op("ConvTranspose", "x w", "a", strides=[2, 2]),
            op("ConvTranspose", "a g", "b", strides=[2, 2], group=2),
            conv("b", "v", "y", "conv"),
        ],
        inputs=X,
        outputs=["y"],
        weights={"w": weight(rng, C, 6, 2, 2), "g": weight(rng, 6, 2, 2, 2), "v": weight(rng, C, C, 3, 3)},
    )
    model = quantized(model, placement).model
    assert has_pair(model, "a")
    assert has_pair(model, "b")
    assert scale(model, "a", 1).shape == (6,)
    dequantize = producer(model, node(model, "a").input[1])
    assert helper.get_node_attr_value(dequantize, "axis") == 1
    assert scale(model, "b", 1).shape == ()  # an entry of axis 1 serves a channel of each group


@rule("gemm")
def gemm(make_model, rng, placement):
    model = make_model(
        [
            op("Gemm", "x w", "a", transA=1, transB=1, alpha=0.5),
            op("Gemm", "v a b", "c", transA=1, beta=2.0),
            op("MatMul", "c u", "y"),
        ],
        inputs={"x": [8, 4]},
        outputs=["y"],
        weights={
            "w": weight(rng, 6, 8),
            "v": weight(rng, 4, 4),
            "b": np.ones(6, np.float32),
            "u": weight(rng, 6, 6),
        },
    )
    float_model, model = model, quantized(model, placement, c=12.0).model
    assert [
        helper.get_node_attr_value(producer(model, node(model, n).input[s]), "axis")
        for n, s in (("a", 1), ("c", 0))
    ] == [0, 1]
    assert node(model, "c").input[2] == "b"
    data = {"x": rng.uniform(-2, 2, (8, 4)).astype(np.float32)}
    assert evaluate(float_model, model, [data]).outputs["y"].sqnr_db > 25


@rule("matmul-weight")
def matmul_weight(make_model, rng, placement):
    model = make_model(
        [op("MatMul", "x w", "a"), op("MatMul", "v a", "b"), op("Gemm", "b w", "y")],
        inputs={"x": [4, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4), "v": weight(rng, 4, 4)},
    )
    model = quantized(model, placement).model
    assert [
        helper.get_node_attr_value(producer(model, node(model, n).input[s]), "axis")
        for n, s in (("a", 1), ("b", 0))
    ] == [1, 0]
    assert has_pair(model, "a", 0)
    assert has_pair(model, "b", 1)


def residual(make_model, rng):
    return make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("Relu", "a", "r"),
            conv("r", "w2", "b", "conv2"),
            op("Sigmoid", "x", "s"),
            op("Add", "s b", "sum1"),
            op("Add", "r sum1", "sum2"),
            conv("sum2", "w2", "y", "conv3"),
        ],
        inputs=X,
        outputs=["y"],
        weights=conv_weights(rng, "w1", "w2"),
    )


@rule("residual-add")
def residual_add(make_model, rng, placement):
    model = quantized(residual(make_model, rng), placement.without("weightless")).model
    assert [has_pair(model, "sum1", slot) for slot in (0, 1)] == [True, False]
    assert [has_pair(model, "sum2", slot) for slot in (0, 1)] == [False, False]


@rule("weightless")
def weightless(make_model, rng, placement):
    model = make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("Relu", "a", "r"),
            op("Add", "r x", "sum"),
            op("AveragePool", "sum", "p", kernel_shape=[2, 2], strides=[2, 2]),
            conv("p", "w2", "c", "conv2"),
            op("Relu", "c", "rc"),
            op("GlobalAveragePool", "rc", "g"),
            op("Flatten", "g", "f"),
            op("Gemm", "f w", "logits"),
            op("AveragePool", "rc", "last", kernel_shape=[2, 2]),
        ],
        inputs=X,
        outputs=["logits", "last"],
        weights={**conv_weights(rng, "w1", "w2"), "w": weight(rng, 4, 4)},
    )
    model = quantized(model, placement).model
    assert [has_pair(model, "sum", slot) for slot in (0, 1)] == [True, True]
    assert has_pair(model, "p")
    assert has_pair(model, "g")
    assert not has_pair(model, "last")  # its output is float: INT8 input would only add a step


def test_a_pool_that_is_also_an_output_stays_float(make_model, rng):
    model = make_model(
        [op("AveragePool", "x", "p", kernel_shape=[2, 2]), conv("p", "w", "y", "conv")],
        inputs=X,
        outputs=["y", "p"],
        weights=conv_weights(rng, "w"),
    )
    assert quantized(model, PLACEMENTS["tensorrt"]).nodes == ("conv",)


@rule("reuse")
def reuse(make_model, rng, placement):
    model = quantized(residual(make_model, rng), placement).model
    assert [has_pair(model, "sum1", slot) for slot in (0, 1)] == [False, False]
    assert [has_pair(model, "sum2", slot) for slot in (0, 1)] == [True, False]
    assert node(model, "sum2").input[0] == node(model, "conv2").input[0]


@rule("fold-batch-norm")
def fold_batch_norm(make_model, rng, placement):
    model = norm_model(make_model, rng)
    result = quantized(model, placement, **dict.fromkeys(["x", "n", "r"], 4.0))
    assert "BatchNormalization" not in {n.op_type for n in result.model.graph.node}
    assert list(node(result.model, "conv1").output) == ["n"]


@rule("parts-before-transpose")
def parts_before_transpose(make_model, rng, placement):
    result = quantized(graphs.joint_attention(make_model, rng, "slice"), placement)
    for name in "qkv":
        assert producer(result.model, name).op_type == "Squeeze"
        assert producer(result.model, f"{name}1_part").input[0] == "heads"
    assert producer(result.model, "turned") is None


@rule("fold-small-constants")
def fold_small_constants(make_model, rng, placement):
    model = make_model(
        [
            op("Shape", "x", "shape"),
            op("Gather", "shape last", "width", axis=0),
            op("Cast", "width", "number", to=TensorProto.FLOAT),
            op("Sqrt", "number", "root"),
            op("Div", "x root", "scaled"),
            op("MatMul", "scaled w", "y"),
        ],
        inputs={"x": [3, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 5), "last": np.int64(-1)},
    )
    result = quantized(model, placement)
    assert not {"Shape", "Gather", "Cast", "Sqrt"} & {n.op_type for n in result.model.graph.node}
    assert initializer(result.model, "root") == 2


def norm_model(make_model, rng, **attributes):
    vectors = {name: rng.uniform(0.5, 1.5, C).astype(np.float32) for name in "ghmv"}
    vectors["g"][0] = -1
    return make_model(
        [
            conv("x", "w1", "a", "conv1"),
            op("BatchNormalization", "a g h m v", "n", "bn", **attributes),
            op("Relu", "n", "r"),
            conv("r", "w1", "y", "conv2"),
        ],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w1"), **vectors},
    )


def home(name: str) -> Placement:
    """A placement that has the rule, and a rule it holds back."""
    if name == "fused-activations":
        return PLACEMENTS["rtx"]
    return next(p for p in PLACEMENTS.values() if name in _names(p))


def test_every_rule_has_a_test():
    assert set(TESTS) == {r.name for r in RULES}


@pytest.mark.parametrize("name", TESTS)
def test_rule(name, make_model, rng):
    TESTS[name](make_model, rng, home(name))


@pytest.mark.parametrize("name", TESTS)
def test_the_test_of_a_rule_fails_without_it(name, make_model, rng):
    # AttributeError: what the test looks at is not there.
    with pytest.raises((AssertionError, AttributeError)):
        TESTS[name](make_model, rng, home(name).without(name))


def test_rules_name_their_sources_and_docs_list_them():
    from places import ROOT

    docs = (ROOT / "docs" / "placement.md").read_text(encoding="utf-8")
    for entry in RULES:
        assert entry.source
        assert f"| `{entry.name}` |" in docs, entry.name


def test_placements():
    assert [p.name for p in (placement_for("tensorrt"), placement_for("tensorrt_rtx"))] == ["tensorrt", "rtx"]
    assert set(_names(PLACEMENTS["tensorrt"])) - set(_rtx()) == {
        "transposed-convolution",
        "residual-add",
        "weightless",
    }
    assert set(_rtx()) - set(_names(PLACEMENTS["tensorrt"])) == {
        "per-channel-batches",
        "reuse",
        "parts-before-transpose",
        "fold-small-constants",
    }
    with pytest.raises(QuantizationError, match="no placement rule 'residual'; the rules are bodies"):
        PLACEMENTS["rtx"].without("residual")


def test_unknown_placement(lenet_path):
    with pytest.raises(QuantizationError, match="no placement 'trt'; choose tensorrt or rtx"):
        quantize(lenet_path, ranges(data=1.0), placement="trt")


def test_a_build_takes_the_placement_of_what_builds(make_model, rng, tmp_path):
    from trt_int8.build import build_engine

    model = make_model(
        [conv("x", "w", "a", "conv"), op("ConvTranspose", "a v", "y", "up", strides=[2, 2])],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w"), "v": weight(rng, C, C, 2, 2)},
    )
    amax = ranges(x=2.0, a=2.0)
    assert build_engine(model, tmp_path / "e", ranges=amax).quantized.nodes == ("conv",)
    chosen = build_engine(model, tmp_path / "e", ranges=amax, placement="tensorrt")
    assert chosen.quantized.nodes == ("conv", "up")

"""A model run piece by piece computes what it computes in one go, and keeps nothing it needs no more."""

import numpy as np
import onnx
import pytest
from corrected import corrected_by
from onnx import TensorProto, helper

from trt_int8.calibration import calibrate
from trt_int8.correction.addends import Addends
from trt_int8.correction.bias import correct_bias, run_in_segments, shrunk
from trt_int8.errors import ModelError
from trt_int8.evaluation import evaluate
from trt_int8.graph.runtime import Session
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange


@pytest.fixture
def model(make_model, rng):
    body = helper.make_graph(
        [helper.make_node("Mul", ["a", "k"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    return make_model(
        [
            helper.make_node("Constant", [], ["k"], value_float=2.0),
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("If", ["yes"], ["c"], then_branch=body, else_branch=body),
            helper.make_node("MatMul", ["c", "w"], ["d"]),
            helper.make_node("Add", ["d", "x"], ["e"]),
            helper.make_node("Neg", ["e"], ["y"]),
        ],
        inputs={"x": [3, 3]},
        outputs=["y"],
        weights={"w": rng.normal(size=(3, 3)).astype(np.float32), "yes": np.array(True)},
    )


def test_pieces_compute_what_the_whole_does(model, rng):
    batches = [{"x": rng.normal(size=(3, 3)).astype(np.float32)} for _ in range(2)]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in "bde")
    names = ["b", "d", "e"]
    expected = [Session(whole, optimize=False).run(batch, names, place="here") for batch in batches]
    seen = []
    for end, state in run_in_segments(model, names, batches):
        for number, values in enumerate(state):
            np.testing.assert_array_equal(values[end], expected[number][names.index(end)])
        seen.append((end, sorted(state[0])))
    # a is read by the body of If; x until e; b by nobody.
    assert seen == [("b", ["a", "b", "x"]), ("d", ["d", "x"]), ("e", ["e"])]
    assert [list(batch) for batch in batches] == [["x"], ["x"]]


def test_what_is_replaced_is_read(model):
    batches = [{"x": np.eye(3, dtype=np.float32)}]
    found = {}
    for end, state in run_in_segments(model, ["d", "e"], batches):
        if end == "d":
            state[0]["d"] = np.zeros((3, 3), np.float32)
        found[end] = state[0][end]
    np.testing.assert_array_equal(found["e"], np.eye(3))


def test_the_batch_is_named_on_failure(model):
    wrong = [{"x": np.eye(3, dtype=np.float32)}, {"x": np.ones((2, 2), np.float32)}]
    with pytest.raises(ModelError, match="batch 1"):
        list(run_in_segments(model, ["d"], wrong))


def test_sequences_do_not_pass_from_segment_to_segment(make_model):
    model = make_model(
        [
            helper.make_node("SplitToSequence", ["x"], ["s"]),
            helper.make_node("Neg", ["x"], ["a"]),
            helper.make_node("ConcatFromSequence", ["s"], ["c"], axis=0),
            helper.make_node("Add", ["a", "c"], ["y"]),
        ],
        inputs={"x": [3, 3]},
        outputs=["y"],
    )
    with pytest.raises(ModelError, match="'s' is not a tensor"):
        list(run_in_segments(model, ["a", "y"], [{"x": np.eye(3, dtype=np.float32)}]))


def run(model, batch, names=None):
    session = Session(model, optimize=False)
    names = names or session.outputs
    return dict(zip(names, session.run(batch, names, place="test"), strict=True))


def clipping(make_model, rng):
    """Ranges far too small for one-sided data: everything shifts down."""
    model = make_model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Reshape", ["r", "shape"], ["f"]),
            helper.make_node("Gemm", ["f", "g"], ["y"], "gemm"),
            helper.make_node("MatMul", ["y", "m"], ["p"], "matmul"),
            helper.make_node("Add", ["row", "p"], ["z"], "add"),
        ],
        inputs={"x": [4, 3, 5, 5]},
        outputs=["z"],
        weights={
            "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
            "b": rng.normal(size=4).astype(np.float32),
            "shape": np.array([4, 36]),
            "g": rng.normal(size=(36, 5)).astype(np.float32),
            "m": rng.normal(size=(5, 6)).astype(np.float32),
            "row": np.ones((1, 6), np.float32),
        },
    )
    batches = [{"x": rng.exponential(size=(4, 3, 5, 5)).astype(np.float32)} for _ in range(40)]
    ranges = calibrate(model, batches).ranges
    small = Ranges({n: TensorRange(r.amax * 0.4, source="too small") for n, r in ranges.items()})
    return model, batches, small


def test_means_are_those_of_the_float_model(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    alike = [{"x": np.repeat(batches[0]["x"][:1], 4, axis=0)}]  # nothing uncertain about their means
    plain = quantize(model, ranges, placement="tensorrt").model
    corrected = correct_bias(model, plain, alike)
    onnx.checker.check_model(corrected, full_check=True)
    means = {
        name: run(variant, alike[0])["z"].mean(axis=0)
        for name, variant in {"float": model, "plain": plain, "corrected": corrected}.items()
    }
    assert np.abs(means["plain"] - means["float"]).max() > 1
    assert np.abs(means["corrected"] - means["float"]).max() < 1e-3


def test_each_node_is_measured_with_those_before_it_corrected(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    plain = quantize(model, ranges, placement="tensorrt").model
    both = run(correct_bias(model, plain, batches), batches[0], ["z"])["z"]
    expected = onnx.ModelProto()
    expected.CopyFrom(plain)
    for name, axis in {"c": (2, 3), "y": (), "p": ()}.items():

        def samples(variant, name=name, axis=axis):
            extended = onnx.ModelProto()
            extended.CopyFrom(variant)
            extended.graph.output.append(onnx.ValueInfoProto(name=name))
            outputs = [run(extended, batch, [name])[name] for batch in batches]
            return np.concatenate([values.astype(np.float64).mean(axis=axis) for values in outputs])

        Addends(expected).add_per_channel(name, shrunk(samples(model) - samples(expected)))
    np.testing.assert_allclose(both, run(expected, batches[0], ["z"])["z"], rtol=1e-5)


def test_uncertain_means_count_for_less():
    differences = np.array([[1.0, 5.0, -3.0], [3.0, 5.0, 3.0]])
    # Means 2, 5, 0; variances of the means 1, 0, 9.
    np.testing.assert_allclose(shrunk(differences), [2 * (1 - 1 / 4), 5, 0])


def test_one_wild_sample_does_not_shift_the_others():
    # The middle half of eight is 3, 4, 5, 6. Winsorized: 3, 3, 3, 4, 5, 6, 6, 6; their squares add up to 14.
    differences = np.array([[1.0], [2], [3], [4], [5], [6], [7], [1000]])
    mean, uncertainty = 4.5, 14 / (4 * 3)
    np.testing.assert_allclose(shrunk(differences), [mean * (1 - uncertainty / mean**2)])


def test_one_sample_says_nothing(make_model, rng):
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "g")],
        inputs={"x": ["n", 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 3)).astype(np.float32)},
    )
    plain = quantize(model, Ranges({"x": TensorRange(0.1, source="too small")}), placement="tensorrt").model
    x = rng.exponential(size=(2, 4)).astype(np.float32)
    assert correct_bias(model, plain, [{"x": x[:1]}]) == plain
    assert correct_bias(model, plain, [{"x": x[:1]}, {"x": x[1:]}]) != plain


@pytest.mark.parametrize("bias", ["none", "row", "scalar", "matrix", "computed", "shared"])
def test_only_constants_change(make_model, rng, bias):
    """A MatMul is corrected in the row that is added to it; no node is put in for that."""
    shapes = {"row": (3,), "shared": (1, 3), "scalar": (), "matrix": (2, 3)}
    behind = {
        "none": [helper.make_node("Relu", ["s"], ["y"])],
        "computed": [helper.make_node("Add", ["s", "s"], ["y"])],
        "shared": [helper.make_node("Add", ["s", "b"], ["u"]), helper.make_node("Add", ["u", "s"], ["y"])],
    }.get(bias, [helper.make_node("Add", ["s", "b"], ["y"])])
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["s"], "s"), *behind],
        inputs={"x": [2, 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 3)).astype(np.float32)}
        | ({"b": rng.normal(size=shapes[bias]).astype(np.float32)} if bias in shapes else {}),
    )
    plain = quantize(model, Ranges({"x": TensorRange(0.2, source="too small")}), placement="tensorrt").model
    corrected = correct_bias(model, plain, [{"x": rng.exponential(size=(2, 4)).astype(np.float32)}] * 3)
    assert [n.op_type for n in corrected.graph.node] == [n.op_type for n in plain.graph.node]
    assert (corrected != plain) == (bias == "row")


def test_products_of_two_activations_have_no_bias(make_model, rng):
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "x2"], ["s"], "s"),
            helper.make_node("Add", ["s", "b"], ["y"]),
        ],
        inputs={"x": [3, 4], "x2": [4, 4]},
        outputs=["y"],
        weights={"b": rng.normal(size=4).astype(np.float32)},
    )
    tight = Ranges({name: TensorRange(0.2, source="too small") for name in ("x", "x2")})
    batches = [
        {n: rng.exponential(size=s).astype(np.float32) for n, s in (("x", (3, 4)), ("x2", (4, 4)))}
    ] * 3
    plain = quantize(model, tight, placement="tensorrt").model
    assert correct_bias(model, plain, batches) == plain


def test_int8_gains_on_unseen_data(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    plain = quantize(model, ranges, placement="tensorrt").model
    corrected = correct_bias(model, plain, batches[:30])
    gain = evaluate(model, corrected, batches[30:]).sqnr_db - evaluate(model, plain, batches[30:]).sqnr_db
    assert gain > 1


def test_it_is_kept_only_where_it_helps(make_model, rng):
    model, batches, ranges = clipping(make_model, rng)
    histograms = calibrate(model, batches).histograms
    fit, held_back = batches[:30], batches[30:]
    result = corrected_by(model, ranges, histograms, fit, held_back=held_back, bias_correction=True)
    gain = result.after.evaluated["z"] - result.before.evaluated["z"]
    assert gain > 1
    assert [c.text for c in result.corrections] == [
        f"biases corrected with 120 samples, evaluated on 40 others: z +{gain:.2f} dB"
    ]
    each = [evaluate(model, result.quantized.model, [batch]).sqnr_db for batch in held_back]
    assert result.after.evaluated["z"] == pytest.approx(np.mean(each))
    # the data differs from the held-back data: no gain, so the model is not changed
    other = [{"x": -9 * batch["x"]} for batch in fit]
    result = corrected_by(model, ranges, histograms, other, held_back=held_back, bias_correction=True)
    assert result.corrections[0].text.endswith("so it was not kept")
    assert result.after == result.before
    assert result.quantized.model == quantize(model, ranges, placement="tensorrt").model


@pytest.mark.parametrize("bias", ["none", "vector", "row", "scalar", "computed"])
def test_addends_of_gemm(make_model, rng, bias):
    """Whatever form C has, the output grows by exactly the addend."""
    c = {"vector": (5,), "row": (1, 5), "scalar": (1,)}.get(bias)
    inputs = {"x": [3, 4]} | ({"c": [5]} if bias == "computed" else {})
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"] + ([] if bias == "none" else ["c"]), ["y"], alpha=0.5, beta=3.0)],
        inputs=inputs,
        outputs=["y"],
        weights={"w": rng.normal(size=(4, 5)).astype(np.float32)} | ({} if c is None else {"c": rng.normal(size=c).astype(np.float32)}),
    )  # fmt: skip
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    Addends(changed).add_per_channel("y", np.arange(5.0))
    onnx.checker.check_model(changed, full_check=True)
    batch = {name: rng.normal(size=shape).astype(np.float32) for name, shape in inputs.items()}
    np.testing.assert_allclose(
        run(changed, batch)["y"] - run(model, batch)["y"], np.tile(np.arange(5), (3, 1)), atol=1e-5
    )


def test_no_shift_no_change(make_model, rng):
    model, batches, _ = clipping(make_model, rng)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for name, channels in {"c": 4, "y": 5, "p": 6}.items():
        Addends(changed).add_per_channel(name, np.zeros(channels))
    np.testing.assert_allclose(run(changed, batches[0])["z"], run(model, batches[0])["z"], rtol=1e-5)


@pytest.mark.parametrize("opset", [19, 23])
def test_biases_of_float16_models_are_float16(make_model, rng, opset):
    """Also where there was none, and the weight is dequantized."""
    model = make_model(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("Gemm", ["f", "g"], ["y"], "gemm"),
        ],
        inputs={"x": [4, 3, 5, 5]},
        outputs=["y"],
        weights={
            "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float16),
            "g": rng.normal(size=(36, 5)).astype(np.float16),
        },
        opset=opset,
        dtype=onnx.TensorProto.FLOAT16,
    )
    model.ir_version = 11
    plain = quantize(
        model, Ranges({n: TensorRange(1.0, source="too small") for n in "xf"}), placement="tensorrt"
    ).model
    sample = rng.exponential(size=(1, 3, 5, 5)).astype(np.float16)
    batches = [{"x": np.repeat(sample, 4, axis=0)}]  # nothing uncertain about the means
    corrected = correct_bias(model, plain, batches)
    onnx.checker.check_model(corrected, full_check=True)
    added = [t for t in corrected.graph.initializer if t.name in ("c_bias", "y_bias")]
    assert [t.data_type for t in added] == [onnx.TensorProto.FLOAT16] * 2
    found, before, wanted = (
        np.mean([run(variant, batch)["y"].astype(np.float64) for batch in batches], axis=(0, 1))
        for variant in (corrected, plain, model)
    )
    assert np.abs(found - wanted).max() < np.abs(before - wanted).max() / 4


def test_products_by_a_vector_have_no_channels(make_model, rng):
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["s"], "s"), helper.make_node("Add", ["s", "b"], ["y"])],
        inputs={"x": ["n", 4]},
        outputs=["y"],
        weights={"w": rng.normal(size=4).astype(np.float32), "b": np.ones(1, np.float32)},
    )
    plain = quantize(model, Ranges({"x": TensorRange(0.2, source="too small")}), placement="tensorrt").model
    batches = [{"x": rng.exponential(size=(n, 4)).astype(np.float32)} for n in (3, 5)]
    assert correct_bias(model, plain, batches) == plain


@pytest.mark.filterwarnings("error")
def test_where_rows_are_few_or_depend_on_values_nothing_is_corrected(make_model, rng):
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first"),
            helper.make_node("Reshape", ["h", "row"], ["r"]),
            helper.make_node("Gemm", ["r", "v", "b"], ["one"], "one row"),
            helper.make_node("Greater", ["r", "zero"], ["more"]),
            helper.make_node("Squeeze", ["more", "axis"], ["mask"]),
            helper.make_node("Compress", ["r", "mask"], ["kept"], axis=1),
            helper.make_node("Transpose", ["kept"], ["column"], perm=[1, 0]),
            helper.make_node("Gemm", ["column", "u", "b"], ["some"], "some rows"),
        ],
        inputs={"x": [400, 4]},
        outputs=["one", "some"],
        weights={
            "w": rng.normal(size=(4, 3)).astype(np.float32),
            "b": np.zeros(3, np.float32),
            "v": rng.normal(size=(1200, 3)).astype(np.float32),
            "u": rng.normal(size=(1, 3)).astype(np.float32),
            "row": np.array([1, -1]),
            "zero": np.float32(0),
            "axis": np.array([0]),
        },
    )
    ranges = Ranges({n: TensorRange(1.0, source="too small") for n in ("x", "r", "column")})
    plain = quantize(model, ranges, placement="tensorrt").model
    corrected = correct_bias(model, plain, [{"x": rng.normal(size=(400, 4)).astype(np.float32)}])
    changed = {n.name for n, m in zip(corrected.graph.node, plain.graph.node, strict=True) if n != m}
    assert changed == {"first"}

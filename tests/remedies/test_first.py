"""Bias correction as a matter of course."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_int8.batches.check import checked
from trt_int8.calibration import calibrate
from trt_int8.evaluation import evaluate
from trt_int8.from_data import quantize_from_data
from trt_int8.model.inputs import input_specs
from trt_int8.quantization import quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.remedies.first import correct_by_first, first_batches


@pytest.fixture
def one_sided(make_model, rng):
    """A network and ranges that clip: everything shifts down."""
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w"], ["a"], "first"),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node("Gemm", ["r", "v"], ["y"], "second"),
        ],
        inputs={"x": ["n", 8]},
        outputs=["y"],
        weights={n: rng.normal(size=s).astype(np.float32) for n, s in (("w", (8, 16)), ("v", (16, 4)))},
    )
    return model, Ranges({name: TensorRange(1.5, source="too small") for name in ("x", "r")})


def data(rng, batches, size=1):
    return [{"x": rng.exponential(size=(size, 8)).astype(np.float32)} for _ in range(batches)]


def test_kept_where_others_gain(one_sided, rng):
    model, ranges = one_sided
    plain = quantize(model, ranges)
    corrected, line = correct_by_first(model, plain, data(rng, 32))
    unseen = data(rng, 200)
    gain = evaluate(model, corrected.model, unseen).sqnr_db - evaluate(model, plain.model, unseen).sqnr_db
    assert gain > 0.5
    assert line.startswith("biases corrected by 16 samples, judged on 16 others: y +")
    assert corrected.scales == plain.scales


def test_dropped_where_others_lose(one_sided, rng):
    model, ranges = one_sided
    plain = quantize(model, ranges)
    mixed = data(rng, 32)
    for number, batch in enumerate(mixed):
        batch["x"] *= 0.1 if number % 2 else 50  # what biases are measured on is nothing like the rest
    found, line = correct_by_first(model, plain, mixed)
    assert found is plain
    assert line.endswith("so all stays as it was")


def test_few_samples(one_sided, rng):
    model, ranges = one_sided
    plain = quantize(model, ranges)
    found, line = correct_by_first(model, plain, data(rng, 3))
    assert (found, line) == (plain, "biases stay as they are: 3 samples are too few to correct them by")


def test_a_single_batch_is_halved_where_the_model_lets_it(one_sided, make_model, rng):
    model, ranges = one_sided
    plain = quantize(model, ranges)
    _, line = correct_by_first(model, plain, data(rng, 1, 21))
    assert "corrected by 11 samples, judged on 10 others" in line
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 20
    _, line = correct_by_first(model, plain, data(rng, 1, 20))
    assert "corrected by 20 samples, judged on 20 them, for want of another batch" in line


def test_first_batches_are_copies_and_at_least_two(rng):
    array = np.zeros((40, 2), np.float32)

    def reusing():
        for number in range(9):
            array[:] = number
            yield {"x": array}

    first = first_batches(reusing())
    assert [batch["x"][0, 0] for batch in first] == [0, 1]
    assert len(first_batches([{"x": array[:1]}] * 99)) == 32


def test_data_is_read_once_and_all_of_it_calibrates(one_sided, rng):
    model, _ = one_sided
    batches = data(rng, 50)
    batches[45]["x"][:] = 9
    lines = []
    made = quantize_from_data(model, iter(batches), algorithm="minmax", tell=lines.append)
    assert made.calibration.samples == 50
    assert made.quantized.scales["x"] == np.float32(9 / 127)
    (line,) = lines
    assert "judged on 16 others" in line
    expected = calibrate(model, batches, algorithm="minmax", tensors=["x", "r"])
    plain = quantize(model, expected.ranges)
    again, _ = correct_by_first(model, plain, list(checked(batches[:32], input_specs(model))))
    assert made.quantized.model == again.model
    off = quantize_from_data(model, batches, algorithm="minmax", bias_correction=False, tell=lines.append)
    assert off.quantized.model == plain.model
    assert len(lines) == 1


def test_models_that_cannot_be_judged_stay_as_they_are(make_model, rng):
    """Nobody asked for the correction, so nothing fails for it."""
    weights = {"w": rng.normal(size=(8, 4)).astype(np.float32), "c": np.zeros(4, np.float32)}
    gemm = helper.make_node("Gemm", ["x", "w", "c"], ["a"], "gemm")
    arrays = {"inputs": {"x": ["n", 8]}, "weights": weights | {"zero": np.float32(0)}}
    classes = make_model([gemm], outputs=["a"], **arrays)
    classes.graph.node.append(helper.make_node("ArgMax", ["a"], ["y"], axis=1))
    classes.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 1]))
    line = []
    made = quantize_from_data(classes, data(rng, 8, 4), tell=line.append)
    assert line == ["biases stay as they are: the model has no float output to compare"]
    assert made.quantized.nodes == ("gemm",)
    wanted = [
        gemm,
        helper.make_node("Greater", ["a", "zero"], ["positive"]),
        helper.make_node("NonZero", ["positive"], ["where"]),
        helper.make_node("Cast", ["where"], ["y"], to=TensorProto.FLOAT),
    ]
    chosen = make_model(wanted, outputs=["y"], **arrays)
    made = quantize_from_data(chosen, data(rng, 4, 500), algorithm="minmax", tell=line.append)
    assert line[1].startswith("biases stay as they are: the shape of 'y' depends on values")

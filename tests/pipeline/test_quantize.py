"""One way from model and data to a Q/DQ model, whoever asks."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_int8.calibration import calibrate
from trt_int8.errors import QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.sensitivity import Evaluator
from trt_int8.pipeline import CalibrationOptions, QuantizationOptions, quantize_from_data
from trt_int8.quantization import PrecisionPlan, quantize
from trt_int8.record import read_record


def stripped(model):
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return bare


def test_the_record_says_how_it_was_made_and_the_model_carries_it(one_sided, data):
    model, _ = one_sided
    batches, told = data(64), []
    made = quantize_from_data(model, iter(batches), target="rtx:sm86", tell=told.append)
    record = made.record
    assert (record.target, record.placement, record.algorithm) == ("rtx:sm86", "rtx", "mse")
    assert (record.samples, record.evaluated, record.unseen) == (48, 16, True)
    assert record.held_back == tuple((i, i + 1) for i in range(1, 64, 4))
    assert told[0] == "target: rtx:sm86"
    assert told[-1] == record.text
    assert record.versions["onnx"] == onnx.__version__
    kept = read_record(made.model)
    assert kept.versions == {}
    assert kept.sqnr_db["y"] == round(record.sqnr_db["y"], 2)
    assert (kept.held_back, kept.corrections) == (record.held_back, record.corrections)


def test_the_figure_is_that_of_evaluate_on_the_samples_held_back(one_sided, data):
    model, _ = one_sided
    batches = data(64)
    made = quantize_from_data(model, batches)
    held = batches[1::4]
    assert made.record.sqnr_db["y"] == pytest.approx(evaluate(model, made.model, held).sqnr_db, abs=1e-6)
    # and evaluate finds them among all samples, however these are batched
    joined = [{"x": np.concatenate([b["x"] for b in batches[i : i + 5]])} for i in range(0, 64, 5)]
    found = evaluate(model, made.model, joined)
    assert found.held_back.samples == 16
    assert found.held_back.sqnr_db["y"] == pytest.approx(made.record.sqnr_db["y"], abs=1e-3)
    assert found.to_dict()["held_back"]["samples"] == 16
    assert evaluate(model, made.model, batches[1:]).held_back is None  # other samples stand there now


def test_nothing_is_made_from_the_samples_held_back(one_sided, data):
    model, _ = one_sided
    batches = data(64)
    options = QuantizationOptions(algorithm="minmax", bias_correction=False)
    made = quantize_from_data(model, batches, target="tensorrt", options=options)
    rest = [batch for number, batch in enumerate(batches) if number % 4 != 1]
    expected = calibrate(model, rest, algorithm="minmax", tensors=["x", "r"]).ranges
    assert stripped(made.model) == quantize(model, expected, placement="tensorrt").model
    for batch in batches[1::4]:
        batch["x"] *= 100
    again = quantize_from_data(model, batches, target="tensorrt", options=options)
    assert stripped(again.model) == stripped(made.model)
    assert again.record.worst_db < made.record.worst_db - 10
    with_biases = quantize_from_data(model, batches, target="tensorrt")
    assert not with_biases.record.corrections[0].kept  # they do not gain by it


def test_biases_are_kept_where_others_gain(one_sided, data):
    model, ranges = one_sided
    made = quantize_from_data(model, data(64), ranges=ranges, target="tensorrt")
    (correction,) = made.record.corrections
    assert correction.kept
    assert correction.text.startswith("biases corrected with 16 samples, evaluated on 16 others: y +")
    assert made.record.text.endswith(f"({made.record.before_db['y']:.2f} before bias correction)")
    assert made.record.sqnr_db["y"] > made.record.before_db["y"] + 0.5
    unseen = data(200)
    plain = quantize(model, ranges, placement="tensorrt")
    gain = evaluate(model, made.model, unseen).sqnr_db - evaluate(model, plain.model, unseen).sqnr_db
    assert gain > 0.5
    assert made.calibration is None


def test_biases_are_dropped_where_others_lose(one_sided, data):
    model, ranges = one_sided
    mixed = data(64)
    for number, batch in enumerate(mixed):
        batch["x"] *= 50 if number % 4 == 1 else 0.1  # what biases are measured on is nothing like the rest
    made = quantize_from_data(model, mixed, ranges=ranges, target="tensorrt")
    assert stripped(made.model) == quantize(model, ranges, placement="tensorrt").model
    assert made.record.corrections[0].text.endswith("so it was not kept")
    assert made.record.sqnr_db == made.record.before_db


def test_ranges_alone(one_sided):
    model, ranges = one_sided
    told = []
    made = quantize_from_data(model, ranges=ranges, target="tensorrt", tell=told.append)
    assert stripped(made.model) == quantize(model, ranges, placement="tensorrt").model
    assert math.isnan(made.record.worst_db)
    assert told[-1].endswith("biases were not corrected and SQNR was not measured, as both need samples")
    with pytest.raises(ValueError, match="give batches= or ranges="):
        quantize_from_data(model)
    for name in ("bias_correction", "recentred"):
        options = QuantizationOptions(**{name: True if name == "bias_correction" else ("x",)})
        with pytest.raises(QuantizationError, match=f"{name}: this correction needs samples"):
            quantize_from_data(model, ranges=ranges, options=options)
    with pytest.raises(QuantizationError, match="offsets need a calibration, but ranges were given"):
        quantize_from_data(model, [], ranges=ranges, options=QuantizationOptions(recentred=["x"]))


def test_few_samples(one_sided, data):
    model, ranges = one_sided
    made = quantize_from_data(model, data(3), ranges=ranges)
    assert made.record.corrections[0].text == "biases stay as they are: 3 samples are too few to correct them"
    assert not made.record.unseen
    assert made.record.text.startswith("SQNR on 3 samples: y ")
    options = QuantizationOptions(bias_correction=True)
    with pytest.raises(
        QuantizationError, match="bias_correction: 3 samples are too few to correct biases; give 4"
    ):
        quantize_from_data(model, data(3), ranges=ranges, options=options)


def test_a_single_batch_is_cut_where_the_model_lets_it(one_sided, data):
    model, _ = one_sided
    made = quantize_from_data(model, data(1, 21))
    assert (made.record.samples, made.record.held_back) == (16, ((16, 21),))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 20
    made = quantize_from_data(model, data(1, 20))
    assert (made.record.samples, made.record.unseen) == (20, False)
    assert "corrected with 20 samples, evaluated on the same ones" in made.record.corrections[0].text


def test_models_that_cannot_be_evaluated_stay_as_they_are(make_model, rng, data):
    """Nobody asked for the correction, so nothing fails for it."""
    weights = {"w": rng.normal(size=(8, 4)).astype(np.float32), "c": np.zeros(4, np.float32)}
    gemm = helper.make_node("Gemm", ["x", "w", "c"], ["a"], "gemm")
    arrays = {"inputs": {"x": ["n", 8]}, "weights": weights | {"zero": np.float32(0)}}
    classes = make_model([gemm], outputs=["a"], **arrays)
    classes.graph.node.append(helper.make_node("ArgMax", ["a"], ["y"], axis=1))
    classes.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 1]))
    made = quantize_from_data(classes, data(8, 4))
    assert made.record.note == "the model has no float output to compare"
    assert made.quantized.nodes == ("gemm",)
    wanted = [
        gemm,
        helper.make_node("Greater", ["a", "zero"], ["positive"]),
        helper.make_node("NonZero", ["positive"], ["where"]),
        helper.make_node("Cast", ["where"], ["y"], to=TensorProto.FLOAT),
    ]
    chosen = make_model(wanted, outputs=["y"], **arrays)
    made = quantize_from_data(chosen, data(4, 500), options=QuantizationOptions(algorithm="minmax"))
    assert made.record.note.startswith("'y' has a data-dependent shape")


def test_several_processes_and_several_passes_calibrate_the_same(one_sided, data):
    """Workers get what is not held back, and no pass reads it."""
    model, _ = one_sided
    batches = data(40)
    wanted = quantize_from_data(model, batches)
    limited = quantize_from_data(model, batches, calibration=CalibrationOptions(max_memory=8 << 30))
    assert limited.model == wanted.model
    once = quantize_from_data(model, iter(batches), calibration=CalibrationOptions(max_memory=8 << 30))
    assert once.model == wanted.model


def test_a_budget_that_is_missed_is_told(one_sided, data):
    model, _ = one_sided
    told = []
    plan = PrecisionPlan({"first": "float"}, "plan.yaml", budget={"min_sqnr": 99.0})
    made = quantize_from_data(model, data(64), options=QuantizationOptions(plan=plan), tell=told.append)
    assert made.record.text.startswith("SQNR on 16 samples: ")  # perhaps the search has seen them
    assert told[-1].startswith(
        "WARNING: plan.yaml was searched for at least 99 dB, but SQNR of the worst output is "
    )


def test_fp16_is_evaluated_as_fp16(one_sided, data):
    model, _ = one_sided
    batches = data(64)
    options = QuantizationOptions(high_precision="fp16")
    made = quantize_from_data(model, batches, options=options)
    assert made.record.high_precision == "fp16"
    found = evaluate(model, made.model, batches[1::4]).sqnr_db
    assert made.record.sqnr_db["y"] == pytest.approx(found, abs=1e-6)


def test_an_output_with_nan_misses_every_budget(one_sided, data):
    """The logarithm of a negative number."""
    model, _ = one_sided
    model.graph.node.append(helper.make_node("Log", ["y"], ["lg"]))
    model.graph.output.append(helper.make_tensor_value_info("lg", TensorProto.FLOAT, ["n", 4]))
    told = []
    plan = PrecisionPlan({"first": "float"}, "plan.yaml", budget={"min_sqnr": 1.0})
    made = quantize_from_data(model, data(64), options=QuantizationOptions(plan=plan), tell=told.append)
    assert math.isnan(made.record.worst_db)
    assert made.record.sqnr_db["y"] > 20
    assert made.record.note == "the float model has NaN in output 'lg'"
    assert made.record.text.startswith("SQNR on 16 samples: lg not defined, y ")
    assert told[-1].startswith(
        "WARNING: plan.yaml was searched for at least 1 dB, but SQNR of the worst output is not defined on"
    )
    scores = Evaluator(model, data(8))(made.model)
    assert scores.sqnr_db == -math.inf


def test_fp16_is_compared_with_fp16(one_sided, data):
    """Logits beside 1000 lose more by FP16 than by INT8."""
    model, ranges = one_sided
    model.graph.node[-1].output[0] = "logits"
    model.graph.node.append(helper.make_node("Add", ["logits", "offset"], ["y"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1000]), "offset"))
    batches = data(64)
    common = {"ranges": ranges, "target": "tensorrt"}
    made = quantize_from_data(model, batches, options=QuantizationOptions(high_precision="fp16"), **common)
    plain = QuantizationOptions(high_precision="fp16", bias_correction=False)
    wanted = quantize_from_data(model, batches, options=plain, **common)
    assert made.record.corrections[0].kept
    assert made.record.before_db["y"] == pytest.approx(wanted.record.sqnr_db["y"], abs=1e-6)
    assert made.record.before_db["y"] != made.record.sqnr_db["y"]

"""One way from model and data to a Q/DQ model, whoever asks."""

import json
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import trt_int8
from trt_int8.calibration import calibrate
from trt_int8.errors import DataError, QuantizationError
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.sensitivity import Evaluator
from trt_int8.graph.model import Model
from trt_int8.pipeline import CalibrationOptions, QuantizationOptions, quantize_from_data
from trt_int8.pipeline.prepare import prepare
from trt_int8.quantization import PLACEMENTS, PrecisionPlan, Selection, quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.record import RECORD_KEY, Correction, QuantizationRecord, read_record


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


def stripped(model):
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return bare


def test_the_record_says_how_it_was_made_and_the_model_carries_it(one_sided, rng):
    model, _ = one_sided
    batches, told = data(rng, 64), []
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


def test_the_figure_is_that_of_evaluate_on_the_samples_held_back(one_sided, rng):
    model, _ = one_sided
    batches = data(rng, 64)
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


def test_nothing_is_made_from_the_samples_held_back(one_sided, rng):
    model, _ = one_sided
    batches = data(rng, 64)
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


def test_biases_are_kept_where_others_gain(one_sided, rng):
    model, ranges = one_sided
    made = quantize_from_data(model, data(rng, 64), ranges=ranges, target="tensorrt")
    (correction,) = made.record.corrections
    assert correction.kept
    assert correction.text.startswith("biases corrected with 16 samples, evaluated on 16 others: y +")
    assert made.record.text.endswith(f"({made.record.before_db['y']:.2f} before bias correction)")
    assert made.record.sqnr_db["y"] > made.record.before_db["y"] + 0.5
    unseen = data(rng, 200)
    plain = quantize(model, ranges, placement="tensorrt")
    gain = evaluate(model, made.model, unseen).sqnr_db - evaluate(model, plain.model, unseen).sqnr_db
    assert gain > 0.5
    assert made.calibration is None


def test_biases_are_dropped_where_others_lose(one_sided, rng):
    model, ranges = one_sided
    mixed = data(rng, 64)
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


def test_few_samples(one_sided, rng):
    model, ranges = one_sided
    made = quantize_from_data(model, data(rng, 3), ranges=ranges)
    assert made.record.corrections[0].text == "biases stay as they are: 3 samples are too few to correct them"
    assert not made.record.unseen
    assert made.record.text.startswith("SQNR on 3 samples: y ")
    options = QuantizationOptions(bias_correction=True)
    with pytest.raises(
        QuantizationError, match="bias_correction: 3 samples are too few to correct biases; give 4"
    ):
        quantize_from_data(model, data(rng, 3), ranges=ranges, options=options)


def test_a_single_batch_is_cut_where_the_model_lets_it(one_sided, rng):
    model, _ = one_sided
    made = quantize_from_data(model, data(rng, 1, 21))
    assert (made.record.samples, made.record.held_back) == (16, ((16, 21),))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 20
    made = quantize_from_data(model, data(rng, 1, 20))
    assert (made.record.samples, made.record.unseen) == (20, False)
    assert "corrected with 20 samples, evaluated on the same ones" in made.record.corrections[0].text


def test_models_that_cannot_be_judged_stay_as_they_are(make_model, rng):
    """Nobody asked for the correction, so nothing fails for it."""
    weights = {"w": rng.normal(size=(8, 4)).astype(np.float32), "c": np.zeros(4, np.float32)}
    gemm = helper.make_node("Gemm", ["x", "w", "c"], ["a"], "gemm")
    arrays = {"inputs": {"x": ["n", 8]}, "weights": weights | {"zero": np.float32(0)}}
    classes = make_model([gemm], outputs=["a"], **arrays)
    classes.graph.node.append(helper.make_node("ArgMax", ["a"], ["y"], axis=1))
    classes.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 1]))
    made = quantize_from_data(classes, data(rng, 8, 4))
    assert made.record.note == "the model has no float output to compare"
    assert made.quantized.nodes == ("gemm",)
    wanted = [
        gemm,
        helper.make_node("Greater", ["a", "zero"], ["positive"]),
        helper.make_node("NonZero", ["positive"], ["where"]),
        helper.make_node("Cast", ["where"], ["y"], to=TensorProto.FLOAT),
    ]
    chosen = make_model(wanted, outputs=["y"], **arrays)
    made = quantize_from_data(chosen, data(rng, 4, 500), options=QuantizationOptions(algorithm="minmax"))
    assert made.record.note.startswith("'y' has a data-dependent shape")


def test_several_processes_and_several_passes_calibrate_the_same(one_sided, rng):
    """Workers get what is not held back, and no pass reads it."""
    model, _ = one_sided
    batches = data(rng, 40)
    wanted = quantize_from_data(model, batches)
    limited = quantize_from_data(model, batches, calibration=CalibrationOptions(max_memory=8 << 30))
    assert limited.model == wanted.model
    once = quantize_from_data(model, iter(batches), calibration=CalibrationOptions(max_memory=8 << 30))
    assert once.model == wanted.model


def test_a_plan_for_other_pairs_is_refused(one_sided, rng):
    model, _ = one_sided
    plan = PrecisionPlan(
        {"first": "float"}, "plan.yaml", target="tensorrt", placement="tensorrt", budget={"min_sqnr": 22.0}
    )
    options = QuantizationOptions(plan=plan)
    made = quantize_from_data(model, data(rng, 16), target="tensorrt", options=options)
    assert made.quantized.nodes == ("second",)
    with pytest.raises(
        QuantizationError,
        match=r"plan.yaml: was searched for placement 'tensorrt' \(target tensorrt\), but this is placement "
        r"'rtx', .*; search the plan again for placement 'rtx', or use placement 'tensorrt'$",
    ):
        quantize_from_data(model, data(rng, 16), target="rtx", options=options)
    for more in ({"placement": PLACEMENTS["tensorrt"].without("residual-add")}, {"placement": "rtx"}):
        options = QuantizationOptions(selection=Selection(plan=plan), **more)
        with pytest.raises(
            QuantizationError, match="but this is placement '(rtx|tensorrt without residual-add)'"
        ):
            quantize_from_data(model, data(rng, 16), target="tensorrt", options=options)


def test_a_budget_that_is_missed_is_told(one_sided, rng):
    model, _ = one_sided
    told = []
    plan = PrecisionPlan({"first": "float"}, "plan.yaml", budget={"min_sqnr": 99.0})
    made = quantize_from_data(model, data(rng, 64), options=QuantizationOptions(plan=plan), tell=told.append)
    assert made.record.text.startswith("SQNR on 16 samples: ")  # perhaps the search has seen them
    assert told[-1].startswith(
        "WARNING: plan.yaml was searched for at least 99 dB, but the worst output has "
    )


def test_fp16_is_judged_as_fp16(one_sided, rng):
    model, _ = one_sided
    batches = data(rng, 64)
    options = QuantizationOptions(high_precision="fp16")
    made = quantize_from_data(model, batches, options=options)
    assert made.record.high_precision == "fp16"
    found = evaluate(model, made.model, batches[1::4]).sqnr_db
    assert made.record.sqnr_db["y"] == pytest.approx(found, abs=1e-6)


def test_records_survive_json():
    record = QuantizationRecord(
        target="rtx:sm89",
        placement="rtx",
        ranges="calibration",
        held_back=((1, 2),),
        sqnr_db={"y": math.inf, "z": 12.5},
        profile={"x": ((1, 3), (8, 3), (8, 3))},
    )
    assert QuantizationRecord.from_json(record.to_json()) == record
    assert json.loads(record.to_json())["sqnr_db"]["y"] == "inf"
    assert record.text == "SQNR on 1 held-back sample: z 12.50 dB, y exact"
    for text in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "target": 3, "held_back": 5}'):
        with pytest.raises(ValueError, match="not a quantization record"):
            QuantizationRecord.from_json(text)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"placement": null', "placement is of the wrong type"),
        ('"target": 5', "target is of the wrong type"),
        ('"samples": "x"', "samples is of the wrong type"),
        ('"samples": true', "samples is of the wrong type"),
        ('"held_back": [[Infinity, 3]]', "a number of a pair or a shape is of the wrong type"),
        ('"profile": {"x": [["1"]]}', "a number of a pair or a shape is of the wrong type"),
        ('"sqnr_db": {"y": null}', "float"),
        ('"sqnr_db": {"y": 1' + "0" * 400 + "}", "too large"),
        ('"corrections": [{"name": "n", "text": "t"}]', "'kept' is missing"),
        (
            '"corrections": [{"name": "n", "text": "t", "kept": 3}]',
            "kept of a correction is of the wrong type",
        ),
        ('"versions": {"onnx": 3}', "versions is of the wrong type"),
        ('"later": ' + "[" * 200_000 + "]" * 200_000, "recursion"),
    ],
)
def test_a_malformed_record_is_no_record(field, reason):
    start = '{"format": 1, "target": "rtx", "placement": "rtx", "ranges": "given", '
    with pytest.raises(ValueError, match=f"^not a quantization record: .*{reason}"):
        QuantizationRecord.from_json(start + field + "}")
    model = onnx.ModelProto()
    model.metadata_props.add(key=RECORD_KEY, value=start + field + "}")
    assert read_record(model) is None


def test_fields_of_later_versions_are_passed_over():
    made = [Correction("bias correction", True, "better")]
    record = QuantizationRecord(target="rtx", placement="rtx", ranges="given", corrections=tuple(made))
    document = json.loads(record.to_json())
    document["later"] = document["corrections"][0]["later"] = [1]
    assert QuantizationRecord.from_json(json.dumps(document)) == record


def test_a_damaged_record_is_no_record(one_sided, rng):
    made = quantize_from_data(one_sided[0], data(rng, 8))
    for entry in made.model.metadata_props:
        if entry.key == RECORD_KEY:
            entry.value = entry.value[:-9]
    assert read_record(made.model) is None


def test_wrong_data_names_the_batch(one_sided, rng):
    model, _ = one_sided
    batches = data(rng, 12)
    batches[9]["x"][0, 3] = np.nan
    with pytest.raises(DataError, match="the data, batch 9, input 'x', index"):
        quantize_from_data(model, batches)
    with pytest.raises(DataError, match="the data is the path 'samples.npz'; read it first"):
        trt_int8.quantize_from_data(model, "samples.npz")


class WithoutLength:
    """An iterable whose length is not known, like torch's DataLoader of an IterableDataset."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        raise TypeError("no len()")


@pytest.mark.parametrize("source", [WithoutLength, np.stack])
def test_sources_without_a_truth_value_are_read(lenet_path, source):
    made = prepare(
        lenet_path,
        batches=source([np.full((1, 1, 28, 28), n, np.float32) for n in range(8)]),
        for_engine=True,
    )
    assert [batch["data"][0, 0, 0, 0] for batch in made.data.held] == [1, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"high_precision": "fp61"}, "high_precision is 'fp61'; choose 'fp32' or 'fp16'"),
        ({"scale_dtype": "fp16"}, "scale_dtype='fp16' needs an FP16 or BF16 model"),
        ({"algorithm": "mes"}, "algorithm is 'mes'; it must be one of entropy, minmax, percentile, mse"),
        ({"recentred": ["nope"]}, "recentred='nope' matches no tensor; the first of 4 names: "),
        ({"recentred": "nope"}, r"recentred is 'nope' \(str\); give a list: \['nope'\]"),
    ],
)
def test_wrong_options_are_refused_before_any_sample_is_read(one_sided, wrong, message):
    model, _ = one_sided

    def unread():
        raise AssertionError("a sample was read")
        yield

    with pytest.raises((ValueError, TypeError, QuantizationError), match=message):
        quantize_from_data(model, unread(), options=QuantizationOptions(**wrong))


@pytest.mark.parametrize(
    ("x", "y", "held"),
    [
        ("n", "n", [8]),
        ("seq", 1, []),
        ("seq", "n", []),
        ("?", "?", [8]),
        ("d.0", "d.3", [8]),
        ("s0", "s3", []),
    ],
)
def test_only_a_batch_axis_is_cut(x, y, held):
    node = helper.make_node("Relu", ["x"], ["y"])
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None if size == "?" else size, 16])
        for name, size in (("x", x), ("y", y))
    )
    model = helper.make_model(helper.make_graph([node], "g", [given], [made]))
    data = prepare(Model(model), batches=[np.ones((32, 16), np.float32)]).data
    assert [len(batch["x"]) for batch in data.held] == held
    assert [len(batch["x"]) for batch in data] == [32 - sum(held)]


def test_an_output_with_nan_misses_every_budget(one_sided, rng):
    """The logarithm of a negative number."""
    model, _ = one_sided
    model.graph.node.append(helper.make_node("Log", ["y"], ["lg"]))
    model.graph.output.append(helper.make_tensor_value_info("lg", TensorProto.FLOAT, ["n", 4]))
    told = []
    plan = PrecisionPlan({"first": "float"}, "plan.yaml", budget={"min_sqnr": 1.0})
    made = quantize_from_data(model, data(rng, 64), options=QuantizationOptions(plan=plan), tell=told.append)
    assert math.isnan(made.record.worst_db)
    assert made.record.sqnr_db["y"] > 20
    assert made.record.note == "the float model has NaN in output 'lg'"
    assert made.record.text.startswith("SQNR on 16 samples: lg nan dB")
    assert told[-1].startswith(
        "WARNING: plan.yaml was searched for at least 1 dB, but the worst output has nan"
    )
    scores = Evaluator(model, data(rng, 8))(made.model)
    assert scores.sqnr_db == -math.inf


def test_fp16_is_compared_with_fp16(one_sided, rng):
    """Logits beside 1000 lose more by FP16 than by INT8."""
    model, ranges = one_sided
    model.graph.node[-1].output[0] = "logits"
    model.graph.node.append(helper.make_node("Add", ["logits", "offset"], ["y"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1000]), "offset"))
    batches = data(rng, 64)
    common = {"ranges": ranges, "target": "tensorrt"}
    made = quantize_from_data(model, batches, options=QuantizationOptions(high_precision="fp16"), **common)
    plain = QuantizationOptions(high_precision="fp16", bias_correction=False)
    wanted = quantize_from_data(model, batches, options=plain, **common)
    assert made.record.corrections[0].kept
    assert made.record.before_db["y"] == pytest.approx(wanted.record.sqnr_db["y"], abs=1e-6)
    assert made.record.before_db["y"] != made.record.sqnr_db["y"]

"""The simulation of an engine of the implicit route: its record and its Q/DQ model."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from device_arrays import OnDevice

from trt_int8 import build_engine
from trt_int8.batches.check import checked
from trt_int8.batches.items import DataDigest
from trt_int8.engine import implicit
from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.errors import BuildError
from trt_int8.evaluation import evaluate
from trt_int8.files import atomic
from trt_int8.graph.inputs import input_specs
from trt_int8.pipeline.implicit_accuracy import simulate
from trt_int8.pipeline.options import QuantizationOptions
from trt_int8.pipeline.prepare import prepare
from trt_int8.pipeline.quantize import log_info
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.migration.from_qdq import pair_scales
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.ranges import CalibrationCache, Ranges, TensorRange
from trt_int8.record import read_record
from trt_int8.report import PrecisionReport
from trt_int8.streamer.device import HostDevice

TESTS = Path(__file__).parents[1]
#: Of a build in which conv1, conv2 and ip1 ran in INT8, and ip2 in FP16.
LOG = TESTS / "quantization" / "migration" / "lenet_implicit.log"
CACHE = b"""TRT-101600-EntropyCalibration2
data: 3c008912
conv1: 3c88edfc
pool1: 3c88edfc
conv2: 3ddc858b
pool2: 3ddc858b
ip1: 3db6bd6e
ip2: 3e691968
prob: 3c010a14
"""
SCALES = {"data": "3c008912", "pool1": "3c88edfc", "pool2_flat": "3ddc858b"}


@pytest.fixture
def builder(monkeypatch):
    """The fake TensorRT's builder, with the cache and the log of LeNet."""
    monkeypatch.syspath_prepend(TESTS / "engine")
    import fake_tensorrt

    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(fake_tensorrt, "IInt8MinMaxCalibrator", type("MinMax", (), {}), raising=False)
    monkeypatch.setattr(fake_tensorrt.Builder, "_cache", CACHE)
    monkeypatch.setattr(fake_tensorrt.Builder, "_log", fake_tensorrt.messages(LOG))
    yield fake_tensorrt.Builder
    if sys.modules.pop("trt_int8.engine.implicit.calibrators", None):  # its classes derive from the fake's
        del implicit.calibrators


@pytest.fixture
def batches(digits):
    return [{"data": image[None]} for image in digits["calibration"][:80]]


@pytest.fixture
def build(builder, lenet_path, tmp_path):
    def run(batches=None, *, ranges=None, by_hand=(), qdq=None, options=None, tell=lambda line: None, **more):
        return build_engine(
            lenet_path,
            tmp_path / "lenet.engine",
            batches=batches,
            ranges=ranges,
            mode="implicit",
            implicit=ImplicitOptions(device=HostDevice(), ranges=by_hand, **more),
            qdq=qdq,
            options=options,
            tell=tell,
        )

    return run


def held_back(batches):
    return batches[1:64:4]


def stored(record):
    """As a model keeps it."""
    rounded = {name: round(value, 2) for name, value in record.sqnr_db.items()}
    return replace(record, versions={}, sqnr_db=rounded, before_db=rounded)


def scales_of(model):
    """Quantized activation → its scale in hexadecimal, as caches have it."""
    found = pair_scales(QdqGraph(model if isinstance(model, onnx.ModelProto) else onnx.load(model)))
    return {name: f"{np.float32(scale).view(np.uint32):08x}" for name, scale in found.items()}


def test_a_calibrated_engine_is_measured_as_evaluate_measures_its_model(build, batches, lenet_path, tmp_path):
    told, qdq = [], tmp_path / "lenet.qdq.onnx"
    result = build(iter(batches), qdq=qdq, tell=told.append)
    record = result.record
    assert (record.route, record.target, record.placement) == ("implicit", "tensorrt", "tensorrt")
    assert (record.ranges, record.algorithm) == ("TensorRT's calibrator", "EntropyCalibration2")
    assert (record.evaluated, record.unseen, record.note, record.samples) == (16, True, "", 64)
    assert record.held_back == tuple((i, i + 1) for i in range(1, 64, 4))
    assert scales_of(qdq) == SCALES  # what ran in INT8, with TensorRT's scales
    found = evaluate(lenet_path, qdq, held_back(batches)).sqnr_db
    assert record.sqnr_db == {"prob": pytest.approx(found, abs=0.01)}
    assert 60 < record.worst_db < 120  # Softmax saturates
    among_all = evaluate(lenet_path, qdq, batches).held_back
    assert (among_all.samples, among_all.sqnr_db["prob"]) == (16, pytest.approx(record.worst_db, abs=0.01))
    assert read_record(onnx.load(qdq)) == stored(record)
    assert told[-1] == record.text
    assert record.text == f"SQNR on 16 held-back samples: prob {record.worst_db:.2f} dB"


def test_a_budget_that_is_missed_is_told(build, batches, caplog):
    plan = PrecisionPlan({"ip2": "float"}, "plan.yaml", budget={"min_sqnr": 300.0})
    result = build(batches, options=QuantizationOptions(plan=plan), tell=log_info)
    (warning,) = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert warning.getMessage() == (
        "plan.yaml was searched for at least 300 dB, but SQNR of the worst output is "
        f"{result.record.worst_db:.2f} dB on these samples; search again with more samples"
    )


def test_the_log_carries_the_record(build, batches):
    result = build(batches)
    assert f"[I] trt_int8: record {result.record.to_json()}\n" in result.log.read_text()
    report = PrecisionReport.from_log(result.log)
    assert report.last.record == result.record
    assert report.to_dict()["builds"][-1]["record"]["route"] == "implicit"
    assert [node.node for node in report.last.nodes if node.precision == "int8"] == [
        "conv1", "conv2", "ip1", "relu1"
    ]  # fmt: skip


def test_the_calibrator_gets_the_other_samples_and_its_cache_says_all(build, batches, lenet_path, tmp_path):
    result = build(batches, cache=tmp_path / "lenet.cache")
    assert result.summary.batches == 64
    everything = DataDigest()
    for batch in checked(batches, input_specs(onnx.load(lenet_path))):
        everything.add(batch)
    assert result.fingerprint.data == everything.hexdigest()


def test_samples_of_a_cache_that_was_there_may_have_been_seen(build, batches, tmp_path):
    first = build(batches, cache=tmp_path / "lenet.cache")
    again = build(batches, cache=tmp_path / "lenet.cache")
    assert (first.record.unseen, again.record.unseen) == (True, False)
    assert (first.summary.source, again.summary.source) == ("data", "cache")
    assert again.record.sqnr_db == pytest.approx(first.record.sqnr_db)
    assert again.record.text.startswith("SQNR on 16 samples: prob ")


def test_ranges_by_hand_are_what_is_measured(build, batches, lenet_path, tmp_path):
    """Those of a file or a dict win over those in `ranges`, and both over calibration."""
    qdq = tmp_path / "lenet.qdq.onnx"
    ranges = Ranges({name: TensorRange(127 / 32, source="test") for name in ("data", "pool1")})
    result = build(batches, ranges=ranges, by_hand=[{"data": [0, 127 / 64]}], qdq=qdq)
    assert scales_of(qdq) == {**SCALES, "data": "3c800000", "pool1": "3d000000"}
    record = result.record
    assert (record.route, record.evaluated, record.unseen) == ("implicit", 16, True)
    found = evaluate(lenet_path, qdq, held_back(batches)).sqnr_db
    assert record.sqnr_db == {"prob": pytest.approx(found, abs=0.01)}
    calibrated = build(batches).record
    assert record.worst_db < calibrated.worst_db - 1  # 1/64 and 1/32 are coarse


def test_ranges_alone(build, tmp_path):
    told, qdq = [], tmp_path / "lenet.qdq.onnx"
    ranges = CalibrationCache.parse(CACHE.decode()).ranges()
    result = build(ranges=ranges, qdq=qdq, tell=told.append)
    assert (result.record.ranges, result.record.algorithm) == ("given", None)
    assert (result.record.sqnr_db, result.record.held_back) == ({}, ())
    assert told[-1] == "accuracy is not known: SQNR was not measured, as that needs samples"
    assert scales_of(qdq) == SCALES
    assert result.fingerprint is None


def test_what_ran_in_fp16_is_simulated_in_fp32(build, batches):
    record = build(batches, fp16=True).record
    assert (record.high_precision, record.note) == ("fp16", "FP16 layers are simulated in FP32")
    assert record.text.endswith(" dB; FP16 layers are simulated in FP32")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "lenet.engine.log is empty"),
        (("Engine Layer Information:\nLayer(CaskConvolution): other, Tactic: 0x1, a (Int8[1]) -> b (Int8[1])",),
         "contains no node of the model"),
    ],
)  # fmt: skip
def test_a_log_that_names_no_layer_fails_no_build(
    build, builder, batches, monkeypatch, tmp_path, lines, reason
):
    monkeypatch.setattr(builder, "_log", lines)
    told = []
    result = build(batches, tell=told.append)
    assert result.engine.read_bytes() == b"the engine"
    assert result.qdq is None
    assert result.record.sqnr_db == {}
    assert result.record.note.startswith("the engine cannot be simulated: ")
    assert reason in result.record.note
    assert told[-1] == f"accuracy is not known: {result.record.note}"
    result.engine.unlink()
    with pytest.raises(BuildError, match=rf"lenet.engine is built, but .*q.onnx is not written: .*{reason}"):
        build(batches, qdq=tmp_path / "q.onnx")
    assert result.engine.read_bytes() == b"the engine"
    assert not (tmp_path / "q.onnx").exists()


def test_ctrl_c_while_it_is_measured_leaves_the_engine_with_its_log(build, batches, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "lenet.engine.log").write_text("of the engine before")
    monkeypatch.setattr("trt_int8.pipeline.build.simulate", interrupted)
    with atomic.recorded() as written, pytest.raises(KeyboardInterrupt):
        build(batches)
    assert [path.name for path in written] == ["lenet.engine", "lenet.engine.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lenet.engine", "lenet.engine.log"]
    assert "Engine Layer Information" in (tmp_path / "lenet.engine.log").read_text()


def test_a_sample_that_cannot_be_evaluated_fails_no_build(build, batches):
    batches[5]["data"] = np.full_like(batches[5]["data"], np.nan)
    result = build(batches)
    assert result.engine.read_bytes() == b"the engine"
    assert "calibration data must be finite" in result.record.note
    assert (result.record.sqnr_db, result.record.held_back) == ({}, ())
    assert scales_of(result.qdq) == SCALES


def test_samples_in_gpu_memory_are_not_measured_on(lenet_path):
    samples = [{"data": OnDevice((1, 1, 28, 28))}] * 8
    prepared = prepare(lenet_path, batches=samples, target="tensorrt", for_engine=True, for_calibrator=True)
    cache = CalibrationCache.parse(CACHE.decode())
    found = simulate(prepared, log=LOG, scales=cache, hand_set={}, summary=None)
    assert scales_of(found.model) == SCALES
    assert found.record.sqnr_db == {}
    assert found.record.text == (
        "accuracy is not known: SQNR was not measured, as that needs samples in host memory, not in GPU memory"
    )

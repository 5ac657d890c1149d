"""What `build_engine` writes with ``qdq=``, built by the real TensorRT-RTX, and the record on its way."""

from dataclasses import replace

import onnx
import pytest

from trt_int8 import PrecisionReport, build_engine, evaluate
from trt_int8.errors import BuildError, OutputError
from trt_int8.pipeline import QuantizationOptions, quantize_from_data
from trt_int8.quantization import Selection, quantize
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.record import RECORD_KEY, read_record


@pytest.fixture(scope="module")
def batches(digits):
    return [{"data": image[None]} for image in digits["calibration"][:32]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def built(lenet_path, batches, folder, told):
    return build_engine(
        lenet_path,
        folder / "lenet.engine",
        batches=iter(batches),
        target="rtx:sm86",
        qdq=folder / "lenet.qdq.onnx",
        tell=told.append,
    )


def layers(report):
    return [(layer.name, layer.precision) for layer in report.last.layers]


def stored(record):
    """As a model keeps it: without what differs between machines."""
    rounded = {
        name: {output: round(value, 2) for output, value in getattr(record, name).items()}
        for name in ("sqnr_db", "before_db")
    }
    return replace(record, versions={}, **rounded)


def test_the_written_model_gives_the_same_engine(built, folder):
    told = []
    again = build_engine(
        folder / "lenet.qdq.onnx", folder / "again.engine", target="rtx:sm86", tell=told.append
    )
    assert layers(again.report) == layers(built.report)
    assert len(again.report.last.int8_layers) == 4
    assert again.record == stored(built.record)
    assert again.report.last.record == again.record
    assert f"recorded when the model was quantized: {again.record.text}" in told
    assert not [line for line in told if "WARNING" in line]


def test_the_figure_is_that_of_the_written_model(built, folder, lenet_path, batches, told):
    held = batches[1::4]
    found = evaluate(lenet_path, folder / "lenet.qdq.onnx", held).sqnr_db
    assert built.record.sqnr_db == {"prob": pytest.approx(found, abs=0.01)}
    assert (built.record.evaluated, built.record.unseen) == (8, True)
    assert told.count(built.record.text) == 1
    assert built.report.last.record.text in built.report.to_text()
    assert onnx.load(folder / "lenet.qdq.onnx") == built.qdq


def test_the_log_carries_the_record_to_the_report(built):
    report = PrecisionReport.from_log(built.log)
    assert report.last.record == built.record
    assert built.record.versions["onnx"] == onnx.__version__
    document = report.to_dict()["builds"][-1]["record"]
    assert document == built.record.to_dict()
    assert (document["target"], document["algorithm"], document["samples"]) == ("rtx:sm86", "mse", 24)


def test_each_build_of_one_log_has_its_own_record(built, lenet_path, batches, tmp_path):
    other = build_engine(lenet_path, tmp_path / "e", batches=batches[:8], target="rtx:sm89")
    plain = built.log.read_text()
    begin = plain.index("\n", plain.index("trt_int8: record"))
    calibrated = replace(built.record, route="implicit", samples=7)
    implicit = f"{plain[begin + 1 :]}[I] trt_int8: record {calibrated.to_json()}\n"
    (tmp_path / "all.log").write_text(implicit + plain + other.log.read_text())
    found = [build.record for build in PrecisionReport.from_log(tmp_path / "all.log").builds]
    assert found == [calibrated, built.record, other.record]
    assert [record.samples for record in found] == [7, 24, 6]


def test_a_model_for_another_target_is_built_with_a_warning(lenet_path, batches, tmp_path):
    made = quantize_from_data(lenet_path, batches, target="tensorrt")
    told = []
    result = build_engine(made.model, tmp_path / "e", target="rtx:sm86", tell=told.append)
    (warning,) = [line for line in told if line.startswith("WARNING")]
    assert "the Q/DQ pairs have placement tensorrt (quantized for target tensorrt)" in warning
    assert "this build is for target rtx:sm86, which needs placement rtx" in warning
    assert warning.endswith("quantize the float model again with this target and placement")
    assert result.record == read_record(made.model)
    told.clear()
    build_engine(made.model, tmp_path / "e", target="rtx:sm89", tell=told.append)
    assert sum("target rtx:sm89" in line for line in told if line.startswith("WARNING")) == 1


def test_another_placement_for_the_same_target_is_named(lenet_path, batches, tmp_path):
    options = QuantizationOptions(placement="tensorrt")
    made = quantize_from_data(lenet_path, batches, target="rtx:sm86", options=options)
    told = []
    build_engine(made.model, tmp_path / "e", target="rtx:sm86", tell=told.append)
    (warning,) = [line for line in told if line.startswith("WARNING")]
    assert "have placement tensorrt (quantized for target rtx:sm86), but" in warning
    assert "for target rtx:sm86, which needs placement rtx; quantize" in warning


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": 2, "target": "tensorrt", "placement": "tensorrt"}', "format 2"),
        (
            '{"format": 1, "target": "tensorrt", "placement": null}',
            "placement is of the wrong type (NoneType)",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_told(lenet_path, batches, tmp_path, text, reason):
    model = quantize_from_data(lenet_path, batches, target="rtx:sm86").model
    (entry,) = [entry for entry in model.metadata_props if entry.key == RECORD_KEY]
    entry.value = text
    told = []
    result = build_engine(model, tmp_path / "e", target="rtx:sm86", tell=told.append)
    assert result.record is None
    (warning,) = [line for line in told if line.startswith("WARNING")]
    assert f"trt_int8.record of the model cannot be read (not a quantization record: {reason})" in warning
    assert "it is not known whether its Q/DQ pairs were placed for target rtx:sm86" in warning


def test_another_gpu_of_the_same_placement_is_no_other_target(lenet_path, batches, tmp_path):
    made = quantize_from_data(lenet_path, batches, target="rtx:sm89")
    told = []
    build_engine(made.model, tmp_path / "e", target="rtx:sm120", tell=told.append)
    assert not [line for line in told if line.startswith("WARNING")]


def test_a_model_without_a_record(lenet_path, tmp_path):
    ranges = Ranges(
        {name: TensorRange(1.0, source="test") for name in ("data", "pool1", "pool2_flat", "ip1")}
    )
    model = quantize(lenet_path, ranges, placement="rtx").model
    result = build_engine(model, tmp_path / "e", qdq=tmp_path / "same.onnx")
    assert result.record is None
    assert "record" not in result.report.to_dict()["builds"][-1]
    assert onnx.load(tmp_path / "same.onnx") == model


def test_where_the_model_may_not_be_written(lenet_path, batches, tmp_path):
    path = tmp_path / "lenet.onnx"
    path.write_bytes(lenet_path.read_bytes())

    def unread():
        raise AssertionError("a batch was read")
        yield

    for qdq, message in (
        (path, "the Q/DQ model would overwrite the model"),
        (tmp_path / "e", "the Q/DQ model would overwrite the engine"),
        (tmp_path / "e.log", "the Q/DQ model would overwrite the log"),
        (tmp_path / "no" / "q.onnx", "the folder .*no does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            build_engine(path, tmp_path / "e", batches=unread(), qdq=qdq)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lenet.onnx"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recentred", ["conv1"]),
        ("selection", Selection(nodes=("conv1",))),
        ("high_precision", "fp16"),
        ("bias_correction", True),
    ],
)
def test_a_qdq_model_is_not_quantized_again(lenet_path, tmp_path, name, value):
    ranges = Ranges({"data": TensorRange(1.0, source="test")})
    model = quantize(lenet_path, ranges, placement="rtx").model
    with pytest.raises(BuildError, match=f"is built unchanged; leave {name}= out"):
        build_engine(model, tmp_path / "e", options=QuantizationOptions(**{name: value}))
    assert not list(tmp_path.iterdir())

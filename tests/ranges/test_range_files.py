import json

import numpy as np
import pytest
from places import CORPUS, corpus_files, requires_corpus

from trt_int8.choices import RANGE_FORMS
from trt_int8.errors import CacheError
from trt_int8.ranges import CalibrationCache, Ranges, TensorRange
from trt_int8.ranges.files import RangeFile

AMAX = {
    "conv1": 2.640000104904175,
    "a name: with (odd) [chars]": 1e-05,
    "106": 7.0,
    "näme": 127 * float(np.float32(0.1)),
}


def ranges(amax=AMAX):
    return Ranges({name: TensorRange(value, source="test") for name, value in amax.items()})


@pytest.mark.parametrize("form", RANGE_FORMS)
def test_each_form_comes_back(form, tmp_path):
    path = tmp_path / "table"
    RangeFile(ranges(), "tensorrt").write(path, form=form)
    back = RangeFile.read(path)
    assert back.form == form
    rel = {"tensorrt": 1e-7, "ort-tensors": 1e-7}.get(form, 0)  # float32; the others hold every digit
    assert {n: r.amax for n, r in back.ranges.items()} == pytest.approx(AMAX, rel=rel, abs=0)
    if form == "tensorrt":
        assert {n: r.scale for n, r in back.ranges.items()} == {n: r.scale for n, r in ranges().items()}


def test_flatbuffers_by_onnxruntimes_own_reader(tmp_path):
    table = pytest.importorskip("onnxruntime.quantization.CalTableFlatBuffers.TrtTable")
    RangeFile(ranges(), "tensorrt").write(tmp_path / "f", form="ort-flatbuffers")
    root = table.TrtTable.GetRootAs((tmp_path / "f").read_bytes(), 0)
    entries = [root.Dict(i) for i in range(root.DictLength())]
    assert {e.Key().decode(): float(e.Value()) for e in entries} == AMAX


def test_tensors_by_onnxruntimes_own_reader(tmp_path):
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    if not hasattr(calibrate, "load_tensors_data"):
        pytest.skip("this onnxruntime has no load_tensors_data")
    RangeFile(ranges(), "tensorrt").write(tmp_path / "t.json", form="ort-tensors")
    data = calibrate.load_tensors_data(tmp_path / "t.json")
    assert {n: t.range_value for n, t in data.items()} == {
        n: (np.float32(-a), np.float32(a)) for n, a in AMAX.items()
    }


def test_what_onnxruntime_writes_is_read(tmp_path):
    """Its own writer, all three files."""
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    from onnxruntime.quantization.quant_utils import write_calibration_table

    f = np.float32
    table = {
        "b": calibrate.TensorData(lowest=np.array(f(0)), highest=np.array(f(2.5))),
        "a x": calibrate.TensorData(lowest=np.array(f(-1.5)), highest=np.array(f(1.25))),
    }
    try:
        write_calibration_table(table, str(tmp_path))
    except TypeError as error:
        pytest.skip(f"this onnxruntime takes another argument: {error}")
    found = RangeFile.read(tmp_path / "calibration.json").ranges
    assert {n: r.amax for n, r in found.items()} == {"b": 2.5, "a x": 1.5}
    for name in ("calibration.flatbuffers", "calibration.cache"):
        found = RangeFile.read(tmp_path / name).ranges
        # onnxruntime keeps max(lowest, highest) here, not the larger magnitude
        assert {n: r.amax for n, r in found.items()} == {"b": 2.5, "a x": 1.25}


@requires_corpus
def test_the_three_tables_of_one_calibration_agree():
    found = [
        RangeFile.read(CORPUS / "caches" / f"ort_resnet50v2_calibration.{kind}")
        for kind in ("cache", "flatbuffers", "json")
    ]
    assert [f.form for f in found] == ["ort-cache", "ort-flatbuffers", "ort-json"]
    amax = [{n: r.amax for n, r in f.ranges.items()} for f in found]
    assert len(amax[0]) == 175
    assert amax[0] == pytest.approx(amax[1], rel=1e-6)
    assert amax[0] == pytest.approx(amax[2], rel=1e-6)
    assert amax[0]["data"] == 2.640000104904175


@pytest.mark.parametrize("path", corpus_files("caches"))
def test_every_corpus_cache_is_read(path, tmp_path):
    read = RangeFile.read(path)
    assert len(read.ranges) > 0
    if read.form != "tensorrt":
        return
    assert dict(read.ranges) == dict(CalibrationCache.read(path).ranges())
    # through YAML and back: the same bits under every header
    RangeFile(read.ranges, read.form).write(tmp_path / "y.yaml", form="yaml")
    back = RangeFile.read(tmp_path / "y.yaml")
    back.write(tmp_path / "t", form="tensorrt", header="TRT-101600-EntropyCalibration2")
    again = CalibrationCache.read(tmp_path / "t")
    assert again.header == "TRT-101600-EntropyCalibration2"
    assert {n: s.tobytes() for n, s in again.scales.items()} == {
        n: s.tobytes() for n, s in CalibrationCache.read(path).scales.items()
    }


def test_yaml_and_json_are_what_the_implicit_route_takes(tmp_path):
    from trt_int8.engine.implicit.dynamic_ranges import read_rules

    for form in ("yaml", "json"):
        RangeFile(ranges(), "tensorrt").write(tmp_path / f"r.{form}", form=form)
        amax = {str(rule.pattern): rule.amax for rule in read_rules(tmp_path / f"r.{form}")}
        assert amax == AMAX


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not the header of a TensorRT calibration cache"),
        (b"\x00\x01\x02\x03nothing", "neither text nor an onnxruntime calibration table"),
        (b"\xff" * 64, "neither text nor an onnxruntime calibration table (binary, but not a table, or truncated); give"),
        (b"PK\x03\x04" + b"\0" * 64, "neither text nor an onnxruntime calibration table (a zip file); give"),
        (b"{", ":1: not JSON"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'{"a": "much"}', "tensor 'a': 'much' is not a range"),
        (b'{"a": [3, -3]}', "lowest 3 is above highest -3"),
        (b'{"a": true}', "True is not a range"),
        (b"{}", "has no tensors"),
        (b"a 1.0\nb\n", ":2: 'b' is not 'tensor value'"),
        (b"a 1.0\na 2.0\n", ":2: tensor 'a' is listed twice"),
        (b"a -1.0\n", "range -1 is negative"),
        (b"a nan\n", "'nan' is not a range"),
        (b"a: 1.0\nb: x\n", "tensor 'b': 'x' is not a range"),
        (b"TRT-8601-EntropyCalibration2\na: 3f800000\nb 1.0\n", ":3: "),
        (b"some text\nwithout numbers here\n", "is not a range"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(CacheError) as caught:
        RangeFile.read(tmp_path / "f")
    assert message in str(caught.value)


def test_cut_flatbuffers(tmp_path):
    RangeFile(ranges(), "tensorrt").write(tmp_path / "f", form="ort-flatbuffers")
    whole = (tmp_path / "f").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / "f").write_bytes(whole[:length])
        with pytest.raises(CacheError):
            RangeFile.read(tmp_path / "f")


def test_what_a_form_cannot_hold(tmp_path):
    infinite = RangeFile(ranges({"a": float("inf")}), "tensorrt")
    for form in ("ort-json", "ort-tensors"):
        with pytest.raises(CacheError, match="tensor 'a' has an infinite range"):
            infinite.write(tmp_path / "f", form=form)
    for form in ("json", "yaml", "ort-cache", "ort-flatbuffers", "tensorrt"):
        infinite.write(tmp_path / "f", form=form)
        assert RangeFile.read(tmp_path / "f").ranges["a"].amax == float("inf")
    with pytest.raises(CacheError, match="line break"):
        RangeFile(ranges({"a\nb": 1.0}), "tensorrt").write(tmp_path / "g", form="ort-cache")
    with pytest.raises(CacheError, match="'hello' is not the header"):
        infinite.write(tmp_path / "g", form="tensorrt", header="hello")
    assert not (tmp_path / "g").exists()
    RangeFile(ranges(), "tensorrt").write(tmp_path / "j", form="ort-json")
    assert json.loads((tmp_path / "j").read_text())["106"] == [-7.0, 7.0]

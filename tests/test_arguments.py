"""What callers from Python give for a path or a record, and cannot mean."""

import io
from pathlib import Path

import pytest

import trt_int8
from trt_int8 import CalibrationCache, PrecisionReport, QuantizationOptions, Ranges, TensorRange
from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.files import atomic
from trt_int8.quantization import PrecisionPlan
from trt_int8.ranges.files import RangeFile

CACHE = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 3f800000\n")


def build(lenet, **mistake):
    arguments = {"engine": "e", "ranges": CACHE.ranges(), **mistake}
    return trt_int8.build_engine(lenet, arguments.pop("engine"), **arguments)


MISTAKES = {
    "cache": (lambda _: CalibrationCache.read(None), "path is None (NoneType); give the path of a calibration cache"),
    "cache, number": (lambda _: CalibrationCache.read(3), "path is 3 (int); give the path of a calibration cache"),
    "cache's text": (lambda _: CalibrationCache.parse(b"TRT-8601"), "text is b'TRT-8601' (bytes); give the text of a calibration cache, or its path to CalibrationCache.read"),
    "cache from nothing": (lambda _: CalibrationCache.from_ranges(None), "ranges is a NoneType; it must be Ranges: CalibrationCache.read(path).ranges() or calibrate(…).ranges"),
    "cache from a dict": (lambda _: CalibrationCache.from_ranges({"x": 1.0}), "ranges is a dict; it must be Ranges: Ranges({name: TensorRange(amax, source='set manually')})"),
    "ranges of numbers": (lambda _: Ranges({"x": 1.0}), "the range of 'x' is 1.0; it must be a TensorRange: TensorRange(amax, source='set manually')"),
    "cache to nowhere": (lambda _: CACHE.write(None), "path is None (NoneType); give the path of the file to write"),
    "bytes to nowhere": (lambda _: atomic.write_bytes(None, b""), "path is None (NoneType); give the path of the file to write"),
    "range file": (lambda _: RangeFile.read(None), "path is None (NoneType); give the path of a file of ranges"),
    "plan file": (lambda _: PrecisionPlan.read(None), "path is None (NoneType); give the path of a precision plan"),
    "log": (lambda _: PrecisionReport.from_log(None), "path is None (NoneType); give the path of a build log"),
    "log as bytes": (lambda _: PrecisionReport.from_log(b"a.log"), "path is b'a.log' (bytes); give the path of a build log"),
    "log or JSON": (lambda _: PrecisionReport.read(None), "path is None (NoneType); give the path of a build log or of layer information"),
    "JSON": (lambda _: PrecisionReport.from_layer_information(None), "path is None (NoneType); give the path of the layer information"),
    "profile": (lambda _: PrecisionReport.from_lines(io.StringIO(LAYER)).with_profile(None), "path is None (NoneType); give the path of the profile"),
    "no lines": (lambda _: PrecisionReport.from_lines(None), "lines is None (NoneType); give an iterable of lines: text.splitlines(), an open file"),
    "one text for lines": (lambda _: PrecisionReport.from_lines("a\nb"), "lines is 'a\\nb' (str); give an iterable of lines: text.splitlines(), an open file"),
    "engine": (lambda m: build(m, engine=None), "engine is None (NoneType); give the path of the engine to write"),
    "build's log": (lambda m: build(m, log=3), "log is 3 (int); give the path of the log to write"),
    "ranges": (lambda m: build(m, ranges={"x": 1.0}), "ranges is a dict; it must be Ranges: Ranges({name: TensorRange(amax, source='set manually')})"),
    "options": (lambda m: build(m, implicit={"fp16": True}), "implicit is {'fp16': True} (dict); give trt_int8.engine.implicit.ImplicitOptions(**implicit)"),
    "flag": (lambda m: build(m, implicit=True), "implicit is True (bool); give trt_int8.engine.implicit.ImplicitOptions(fp16=True)"),
    "no options": (lambda m: build(m, implicit={}), "implicit is {} (dict); give trt_int8.engine.implicit.ImplicitOptions(**implicit)"),
    "quantization options": (lambda m: build(m, options={"algorithm": "mse"}), "options is {'algorithm': 'mse'} (dict); give trt_int8.QuantizationOptions(**options)"),
    "calibration options": (lambda m: build(m, calibration=2), "calibration is 2 (int); give trt_int8.CalibrationOptions(threads=2)"),
    "optimization profile": (lambda m: build(m, profile="x:1x3"), "profile is 'x:1x3' (str); give trt_int8.Profile(batch_size=8)"),
    "Q/DQ model": (lambda m: build(m, qdq=3), "qdq is 3 (int); give the path of the Q/DQ model to write"),
    "plan": (lambda _: QuantizationOptions(plan={"a": "float"}), "plan is {'a': 'float'} (dict); give trt_int8.quantization.PrecisionPlan(plan)"),
    "plan's file": (lambda _: QuantizationOptions(plan="p.yaml"), "plan is 'p.yaml' (str); give trt_int8.quantization.PrecisionPlan.read(path)"),
}  # fmt: skip
LAYER = "Engine Layer Information:\nLayer(X): conv, Tactic: 0x02, x (Half[1]) -> y (Half[1])\n"


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_has_the_value_and_the_fix(name, lenet_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = MISTAKES[name]
    with pytest.raises(TypeError) as caught:
        make(lenet_path)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_the_advice_holds(tmp_path):
    implicit, plan = {"fp16": True}, {"a": "float"}
    assert ImplicitOptions(**implicit).fp16
    assert PrecisionPlan(plan).nodes == plan
    ranges = Ranges({"x": TensorRange(127.0, source="by hand")})
    assert CalibrationCache.from_ranges(ranges).text == CACHE.text
    for path in (str(tmp_path / "c"), tmp_path / "c", Path(tmp_path, "c")):
        CACHE.write(path)
        assert CalibrationCache.read(path).scales == CACHE.scales

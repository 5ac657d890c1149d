"""Run by test_calibrators.py beside the real bindings: the calibrators as libnvinfer sees them."""

import gc
import signal
import traceback

import numpy as np
import pytest
import tensorrt as trt
from libnvinfer import Calibration, floats

from trt_int8.engine.implicit import EntropyCalibrator, MinMaxCalibrator
from trt_int8.errors import CacheError, CalibrationError, DataError
from trt_int8.streamer.device import HostDevice

CLASSES = {
    EntropyCalibrator: (trt.IInt8EntropyCalibrator2, trt.CalibrationAlgoType.ENTROPY_CALIBRATION_2),
    MinMaxCalibrator: (trt.IInt8MinMaxCalibrator, trt.CalibrationAlgoType.MINMAX_CALIBRATION),
}


@pytest.fixture(params=CLASSES, ids=lambda kind: kind.__name__)
def make(request):
    def new(batches, **options):
        return request.param(batches, device=HostDevice(), **options)

    new.kind = request.param
    return new


@pytest.fixture
def content(make):
    return f"TRT-101600-{make.kind.algorithm}\nx: 3c008912\n".encode()


def batch(start):
    return {"x": np.arange(start, start + 4, dtype=np.float32).reshape(2, 2)}


def test_they_are_tensorrts_own(make):
    base, algorithm = CLASSES[make.kind]
    calibrator = make([batch(0)])
    assert isinstance(calibrator, base)
    assert isinstance(calibrator, trt.IInt8Calibrator)
    assert type(calibrator).__name__ in ("EntropyCalibrator", "MinMaxCalibrator")
    assert Calibration(trt, calibrator).algorithm() == int(algorithm)
    assert calibrator.tensorrt == trt.__version__


def test_batches_arrive_in_order_and_end(make, content):
    calibrator = make(batch(start) for start in (0, 10, 20))
    cpp = Calibration(trt, calibrator)
    assert cpp.batch_size() == 2
    assert cpp.read() is None
    for start in (0, 10, 20):
        (pointer,) = cpp.batch(["x"])
        assert floats(pointer, 4) == [start, start + 1, start + 2, start + 3]
    assert cpp.batch(["x"]) is None
    cpp.write(content)
    calibrator.raise_if_failed()
    assert calibrator.scales().text.encode() == content


def test_pointers_follow_the_order_of_the_names(make):
    data = [{"a": np.full((1, 2), 1, np.float32), "b": np.full((1, 2), 2, np.float32)}] * 2
    cpp = Calibration(trt, make(data))
    assert [floats(p, 2) for p in cpp.batch(["b", "a"])] == [[2, 2], [1, 1]]
    assert [floats(p, 2) for p in cpp.batch(["a", "b"])] == [[1, 1], [2, 2]]


@pytest.mark.parametrize("names", [["x", "mask"], ["images"], ["x", "x2", "x3"]])
def test_the_binding_never_gets_a_short_list(make, names):
    calibrator = make([batch(0)])
    assert Calibration(trt, calibrator).batch(names) is None
    with pytest.raises(DataError, match=f"input '{names[-1] if len(names) == 1 else names[1]}' is missing"):
        calibrator.raise_if_failed()


def test_the_cache_is_written_and_read_back(make, content, tmp_path):
    path = tmp_path / "x.cache"
    seen = Calibration(trt, make([batch(0)], cache=path)).calibrate(["x"], content)
    assert len(seen) == 1
    assert path.read_bytes() == content
    again = make([batch(0)], cache=path, data=None)
    cpp = Calibration(trt, again)
    with pytest.warns(UserWarning, match="used without a check"):  # no model was given
        found = cpp.calibrate(["x"], b"")
    gc.collect()
    assert found == content
    again.raise_if_failed()
    assert again.summary().source == "cache"


def test_a_cache_that_does_not_fit_is_not_handed_over(make, content, tmp_path):
    path = tmp_path / "x.cache"
    Calibration(trt, make([batch(0)], cache=path)).calibrate(["x"], content)
    other = make([batch(1)], cache=path)
    assert Calibration(trt, other).calibrate(["x"], b"not written") == []
    with pytest.raises(CacheError, match="calibration data: "):
        other.raise_if_failed()
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_errors_in_the_loader_come_out_with_their_traceback(make, content, tmp_path, kind):
    def loader():
        yield batch(0)
        broken_line()

    def broken_line():
        raise kind("sample 2 is damaged")

    calibrator = make(loader(), cache=tmp_path / "x.cache")
    assert len(Calibration(trt, calibrator).calibrate(["x"], content)) == 1
    with pytest.raises(kind, match="sample 2 is damaged") as caught:
        calibrator.raise_if_failed()
    assert "broken_line" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert list(tmp_path.iterdir()) == []


def test_no_data_is_reported(make, content):
    calibrator = make([])
    assert Calibration(trt, calibrator).calibrate(["x"], content) == []
    with pytest.raises(CalibrationError, match="no batches"):
        calibrator.raise_if_failed()


def test_ctrl_c_during_tensorrts_work_is_kept(make, content, tmp_path, capfd):
    calibrator = make([batch(0), batch(10)], cache=tmp_path / "x.cache")
    cpp = Calibration(trt, calibrator)
    with calibrator.interrupts.held():
        assert cpp.batch(["x"])
        assert cpp.batch(["x"], after_ctrl_c=True) is None
        cpp.write(content)
    assert list(tmp_path.iterdir()) == []
    assert "Exception caught" not in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        calibrator.raise_if_failed()


def test_ctrl_c_that_the_bindings_swallow_still_keeps_the_cache_from_being_written(
    make, content, tmp_path, capfd
):
    calibrator = make([batch(0), batch(10)], cache=tmp_path / "x.cache")
    cpp = Calibration(trt, calibrator)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert cpp.batch(["x"])
    assert cpp.batch(["x"], after_ctrl_c=True) is None  # raised before the callback's own try
    assert "KeyboardInterrupt" in capfd.readouterr().err
    cpp.write(content)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CalibrationError, match="interrupted after 1 batches"):
        calibrator.raise_if_failed()


def test_a_config_takes_it(make):
    """The real IBuilderConfig cannot be made here; its property's type is what can be asked."""
    assert "int8_calibrator" in dir(trt.IBuilderConfig)

"""The calibrators' callbacks on the GPU streamer, on the real pycuda; TensorRT's side played here."""

import signal
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_int8.engine.implicit.callbacks import CalibratorCallbacks
from trt_int8.errors import DataError
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.device import ConvertingDevice
from trt_int8.streamer.normalize import Normalize

CACHE = b"TRT-101600-EntropyCalibration2\nx: 3c008912\n"


class Calibrator(CalibratorCallbacks):
    algorithm = "EntropyCalibration2"
    tensorrt = "10.16.1"


def calibrate(calibrator, standin, shape, names=("x",)):
    """What reached the GPU, batch by batch."""
    calibrator.get_batch_size()
    seen = []
    if calibrator.read_calibration_cache() is None:
        while pointers := calibrator.get_batch(list(names)):
            seen.append([standin.read(pointer, shape).copy() for pointer in pointers])
        calibrator.write_calibration_cache(memoryview(CACHE))
    return seen


def batch(value):
    return {"x": np.full((2, 3), value, np.float32)}


@pytest.mark.parametrize("slots", [1, 3])
def test_batches_arrive_in_order_whatever_is_read_ahead(standin, tmp_path, slots):
    calibrator = Calibrator(
        (batch(value) for value in range(20)), device=CudaDevice(slots=slots), cache=tmp_path / "x.cache"
    )
    seen = calibrate(calibrator, standin, (2, 3))
    calibrator.raise_if_failed()
    assert [float(x[0, 0]) for (x,) in seen] == list(range(20))
    assert all((x == x[0, 0]).all() for (x,) in seen)
    assert calibrator.summary().batches == 20
    assert (tmp_path / "x.cache").read_bytes() == CACHE


def test_the_default_device_is_the_gpu(standin):
    calibrator = Calibrator([batch(1)])
    assert len(calibrate(calibrator, standin, (2, 3))) == 1
    calibrator.raise_if_failed()


def test_an_error_in_the_reader_thread_comes_out_with_its_traceback(standin, tmp_path):
    def loader():
        yield batch(0)
        yield batch(1)
        assert threading.current_thread() is not threading.main_thread()
        raise OSError("image 4 is damaged")

    calibrator = Calibrator(loader(), device=CudaDevice(), cache=tmp_path / "x.cache")
    assert len(calibrate(calibrator, standin, (2, 3))) == 2
    with pytest.raises(OSError, match="image 4 is damaged") as caught:
        calibrator.raise_if_failed()
    assert "loader" in [entry.name for entry in caught.traceback]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_reader_thread_loads(standin):
    """Ctrl-C reaches the main thread, which waits for a batch in the middle of CUDA's affairs."""
    loaded = []

    def loader():
        for value in range(100):
            loaded.append(value)
            yield batch(value)
            if value == 3:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                while not calibrator.interrupts.pending:
                    arrived.wait(0.01)

    arrived = threading.Event()
    calibrator = Calibrator(loader(), device=CudaDevice())
    with calibrator.interrupts.held():
        assert len(calibrate(calibrator, standin, (2, 3))) <= 4
    assert loaded == [0, 1, 2, 3, 4]
    with pytest.raises(KeyboardInterrupt):
        calibrator.raise_if_failed()


def test_a_short_batch_frees_everything(standin):
    calibrator = Calibrator([batch(0), {"x": np.zeros((1, 3), np.float32)}], device=CudaDevice())
    assert len(calibrate(calibrator, standin, (2, 3))) == 1
    with pytest.raises(DataError, match="batch 1, input 'x' has 1 samples, but batch 0 has 2"):
        calibrator.raise_if_failed()


@pytest.fixture
def image_model(tmp_path):
    """y = x of float32 [n, 3, 4, 5]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 4, 5]) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), path)
    return path


def test_images_normalized_on_the_way_fit_the_float_model(standin, image_model):
    device = CudaDevice(normalize={"x": Normalize()})
    assert isinstance(device, ConvertingDevice)
    assert device.staged("other", (2, 7), "int32") == ((2, 7), "int32")
    assert device.conversion == f"x: {Normalize()!r}"
    assert CudaDevice(normalize={"x": Normalize(scale=1.0)}).conversion != device.conversion
    assert CudaDevice().conversion == ""
    pixels = np.full((2, 4, 5, 3), 51, np.uint8)
    converted = device.on_host({"x": pixels, "other": pixels})
    assert (converted["x"].shape, converted["x"][1, 2, 3, 4]) == ((2, 3, 4, 5), pytest.approx(0.2))
    assert converted["other"] is pixels
    calibrator = Calibrator([{"x": np.full((2, 4, 5, 3), 255, np.uint8)}], device=device, model=image_model)
    assert calibrator.shapes == {"x": (2, 3, 4, 5)}
    assert calibrator.get_batch_size() == 2


def test_images_that_are_normalized_to_another_shape_than_the_models_are_refused(standin, image_model):
    device = CudaDevice(normalize={"x": Normalize()})
    calibrator = Calibrator([{"x": np.zeros((2, 5, 4, 3), np.uint8)}], device=device, model=image_model)
    assert calibrate(calibrator, standin, (2, 3, 4, 5)) == []
    with pytest.raises(DataError, match=r"the batch is float32\[2, 3, 5, 4\], but the model expects x"):
        calibrator.raise_if_failed()

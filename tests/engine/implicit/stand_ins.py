"""TensorRT's side of a calibration, as libnvinfer plays it."""

import ctypes

import numpy as np

from trt_int8.engine.implicit.callbacks import CalibratorCallbacks

CACHE = b"TRT-101600-EntropyCalibration2\nx: 3c008912\ny: 3d000000\n"


class Calibrator(CalibratorCallbacks):
    """The callbacks without TensorRT's class."""

    algorithm = "EntropyCalibration2"
    tensorrt = "10.16.1"


def calibrate(calibrator, names=("x",), *, cache=CACHE, count=4):
    """Drive the callbacks; returns the floats seen per batch and input, or the cache that was read.

    The callbacks must not raise: in TensorRT an exception would be lost here.
    """
    calibrator.get_batch_size()
    read = calibrator.read_calibration_cache()
    if read is not None:
        return bytes(read)
    seen = []
    while pointers := calibrator.get_batch(list(names)):
        assert len(pointers) == len(names)
        seen.append([list((ctypes.c_float * count).from_address(p)) for p in pointers])
    calibrator.write_calibration_cache(memoryview(cache))
    return seen


def batch(start, *, size=2):
    """``size`` samples of 2 values: start, start + 1, …"""
    return {"x": np.arange(start, start + 2 * size, dtype=np.float32).reshape(size, 2)}

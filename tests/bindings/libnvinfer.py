"""Calls a calibrator as libnvinfer does: through its C++ vtable. Runs beside the real bindings."""

import ctypes
from pathlib import Path

#: Slots of getBatchSize, getBatch, readCalibrationCache, writeCalibrationCache, getAlgorithm.
_FIRST_SLOT = {"8": 0, "10": 4}


class Calibration:
    """The C++ side of one calibrator object.

    Calls release the GIL, as the builder does, and exceptions do not come through them.
    """

    def __init__(self, trt, calibrator):
        stubs = Path(trt.tensorrt_bindings.__file__).parents[1] / "stubs"
        self._interrupted = ctypes.CDLL(stubs / "interrupted.so").interrupted
        self._interrupted.restype = ctypes.c_bool
        self._alive = calibrator  # as a config keeps its calibrator alive
        # Of a pybind11 object, the C++ pointer follows the Python object header.
        self._this = ctypes.cast(id(calibrator) + 16, ctypes.POINTER(ctypes.c_void_p))[0]
        table = ctypes.cast(self._this, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
        first = _FIRST_SLOT[trt.__version__.split(".")[0]]
        void = ctypes.c_void_p

        def method(slot, result, *arguments):
            return ctypes.CFUNCTYPE(result, void, *arguments)(table[first + slot])

        self._batch_size = method(0, ctypes.c_int32)
        self._batch = method(1, ctypes.c_bool, void, void, ctypes.c_int32)
        self._read = method(2, void, void)
        self._write = method(3, None, void, ctypes.c_size_t)
        self._algorithm = method(4, ctypes.c_int32)

    def batch_size(self):
        return self._batch_size(self._this)

    def batch(self, names, *, after_ctrl_c=False):
        """One pointer per name, or None at the end."""
        encoded = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        # The binding writes len(names) pointers; the last cell shows that it writes no more.
        bindings = (ctypes.c_void_p * (len(names) + 1))(*[0xDEAD] * (len(names) + 1))
        arguments = (ctypes.c_void_p(self._this), bindings, encoded, len(names))
        more = self._interrupted(self._batch, *arguments) if after_ctrl_c else self._batch(*arguments)
        assert bindings[len(names)] == 0xDEAD
        return list(bindings)[: len(names)] if more else None

    def read(self):
        length = ctypes.c_size_t(0)
        address = self._read(self._this, ctypes.byref(length))
        return ctypes.string_at(address, length.value) if address else None

    def write(self, cache):
        buffer = ctypes.create_string_buffer(cache, len(cache))
        self._write(self._this, buffer, len(cache))
        ctypes.memset(buffer, 0, len(cache))  # TensorRT's memory is gone after the call

    def algorithm(self):
        return self._algorithm(self._this)

    def calibrate(self, names, cache):
        """What a build does; returns the pointers of each batch, or the cache that was read."""
        assert self.batch_size() >= 1
        found = self.read()
        if found is not None:
            return found
        seen = []
        while (pointers := self.batch(names)) is not None:
            seen.append(pointers)
        self.write(cache)
        return seen


def floats(address, count):
    """What the GPU would see at ``address``."""
    return list((ctypes.c_float * count).from_address(address))

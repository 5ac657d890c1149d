"""What fails while batches are streamed, and what is left behind: nothing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from streamer.batches import batch, drain, reader_threads
from streamer.standin.control import ILLEGAL_ADDRESS, OUT_OF_MEMORY
from trt_int8.errors import CalibrationError
from trt_int8.streamer import context
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.gpu import NoGpu


def test_nothing_leaks_over_1000_batches(standin):
    before = standin.alive()
    stream = CudaDevice().stream(batch(start) for start in range(1000))
    inside = None
    for index in range(1000):
        pointers = stream.next()
        if index == 2:
            inside = standin.alive()
        if index % 100 == 99:
            now = standin.alive()
            assert {**now, "pushes minus pops": 0} == {**inside, "pushes minus pops": 0}
            np.testing.assert_array_equal(standin.read(pointers["x"], (2, 3)), batch(index)["x"])
    assert (inside["device allocations"], inside["pinned allocations"]) == (4, 4)
    assert (inside["streams"], inside["events"], inside["primary context"]) == (1, 2, 1)
    assert stream.next() is None
    assert standin.alive() == before  # freed at the end, without close
    assert not reader_threads()


def test_close_in_the_middle_frees_everything(standin):
    closed = []

    def load():
        try:
            for start in range(100):
                yield batch(start)
        finally:
            closed.append(True)

    before = standin.alive()
    stream = CudaDevice().stream(load())
    stream.next()
    stream.close()
    assert standin.alive() == before
    assert closed == [True]
    assert not reader_threads()
    stream.close()
    with pytest.raises(CalibrationError, match="closed"):
        stream.next()


class Interrupt(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("error", [ValueError("bad jpeg 17"), Interrupt(), SystemExit(3)])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_raises_what_the_loader_raised(standin, error, after):
    def load_image():
        raise error

    def load():
        for start in range(after):
            yield batch(start)
        load_image()

    before = standin.alive()
    stream = CudaDevice().stream(load())
    for _ in range(after):
        assert stream.next() is not None
    with pytest.raises(type(error)) as caught:
        stream.next()
    assert caught.value is error
    assert caught.traceback[-1].name == "load_image"
    assert standin.alive() == before
    assert stream.next() is None
    assert not reader_threads()


FAILURES = [
    ("cuMemAlloc_v2", 0, OUT_OF_MEMORY),
    ("cuMemAlloc_v2", 3, OUT_OF_MEMORY),
    ("cuMemHostAlloc", 0, OUT_OF_MEMORY),
    ("cuMemHostAlloc", 2, OUT_OF_MEMORY),
    ("cuEventCreate", 0, OUT_OF_MEMORY),
    ("cuEventCreate", 1, OUT_OF_MEMORY),
    ("cuMemGetInfo_v2", 0, ILLEGAL_ADDRESS),
    ("cuMemcpyHtoDAsync_v2", 0, ILLEGAL_ADDRESS),
    ("cuMemcpyHtoDAsync_v2", 5, ILLEGAL_ADDRESS),
    ("cuEventRecord", 0, ILLEGAL_ADDRESS),
    ("cuEventRecord", 3, ILLEGAL_ADDRESS),
    ("cuEventSynchronize", 0, ILLEGAL_ADDRESS),
    ("cuEventSynchronize", 2, ILLEGAL_ADDRESS),
    ("cuCtxSynchronize", 1, ILLEGAL_ADDRESS),
]


@pytest.mark.parametrize(("function", "skip", "code"), FAILURES, ids=[f"{f}-{s}" for f, s, _ in FAILURES])
def test_a_failure_of_cuda_is_raised_and_leaks_nothing(standin, function, skip, code):
    before = standin.alive()
    standin.fail(function, skip=skip, code=code)
    text = {OUT_OF_MEMORY: "out of memory", ILLEGAL_ADDRESS: "an illegal memory access"}[code]
    stream = CudaDevice().stream(batch(start) for start in range(8))
    with pytest.raises(CalibrationError, match=text) as caught:
        drain(stream)
    assert type(caught.value.__cause__).__module__ == "pycuda._driver"
    assert standin.alive() == before  # while the error and its traceback are still held
    assert stream.next() is None
    assert not reader_threads()


def test_a_failure_to_open_leaks_nothing(standin):
    before = standin.alive()
    standin.fail("cuStreamCreate", code=OUT_OF_MEMORY)
    with pytest.raises(CalibrationError, match=r"cannot make a CUDA stream: .*out of memory"):
        CudaDevice().stream([batch(0)])
    assert standin.alive() == before
    standin.fail("cuDevicePrimaryCtxRetain", code=OUT_OF_MEMORY)
    with pytest.raises(CalibrationError, match="cannot use GPU 0"):
        CudaDevice().stream([batch(0)])


def test_no_gpu(standin, monkeypatch):
    monkeypatch.setattr(
        context, "find_gpus", lambda: ((), NoGpu("none is shown", "unset CUDA_VISIBLE_DEVICES"))
    )
    standin.fail("cuInit", code=100)
    message = r"CUDA cannot be initialized: .*no CUDA-capable device.*; unset CUDA_VISIBLE_DEVICES$"
    with pytest.raises(CalibrationError, match=message) as caught:
        CudaDevice()
    assert type(caught.value.__cause__).__module__ == "pycuda._driver"


def test_no_such_gpu(standin):
    with pytest.raises(CalibrationError, match="cannot use GPU 7"):
        CudaDevice(ordinal=7).stream([batch(0)])


def test_can_be_closed_in_another_thread(standin):
    before = standin.alive()
    stream = CudaDevice().stream(batch(start) for start in range(4))
    stream.next()
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    assert standin.alive() == before


NEVER_CLOSED = """
import atexit, itertools, sys
import numpy as np
from streamer.standin.control import Control
from trt_int8.streamer.cuda import CudaDevice

control = Control()
atexit.register(lambda: print(sum(control.alive().values()), control.count("hazards")))
stream = CudaDevice().stream({"x": np.zeros((64, 4096), np.float32)} for _ in itertools.count())
stream.next()
assert sum(control.alive().values()) > 0
"""


def test_a_stream_that_is_never_closed_is_freed_at_exit(standin):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.environ["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, "-c", NEVER_CLOSED], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0\n", "")

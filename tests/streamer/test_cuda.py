"""The streamer on the real pycuda: bytes, order, failures, and what is left behind."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from streamer.standin.control import ILLEGAL_ADDRESS, OUT_OF_MEMORY
from trt_int8.errors import CalibrationError, DataError
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.device import BatchStream, Device
from trt_int8.streamer.ring import StreamMemory


def batch(start: float, size: int = 2) -> dict[str, np.ndarray]:
    return {
        "x": np.arange(start, start + 3 * size, dtype=np.float32).reshape(size, 3),
        "mask": np.full((size, 1), start, np.int32),
    }


def drain(stream: BatchStream) -> None:
    while stream.next() is not None:
        pass


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "batch reader" in thread.name]


def test_is_a_device(standin):
    device: Device = CudaDevice()
    stream: BatchStream = device.stream([])
    assert stream.next() is None
    assert stream.next() is None
    assert stream.batch_size is None


def test_bytes_arrive_in_order(standin):
    stream = CudaDevice().stream(batch(start) for start in range(5))
    for start in range(5):
        pointers = stream.next()
        assert list(pointers) == ["x", "mask"]
        np.testing.assert_array_equal(standin.read(pointers["x"], (2, 3)), batch(start)["x"])
        np.testing.assert_array_equal(standin.read(pointers["mask"], (2, 1), "int32"), batch(start)["mask"])
        assert stream.batch_size == 2
    assert stream.next() is None


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_batch_stays_until_the_next_call(standin, slots):
    loaded = threading.Semaphore(0)

    def load():
        for start in range(8):
            yield batch(start)
            loaded.release()  # the batch was staged: the reader came back for more

    stream = CudaDevice(slots=slots).stream(load())
    for start in range(8):
        pointers = stream.next()
        for _ in range(min(slots, 8) if start == 0 else start + slots <= 8):
            assert loaded.acquire(timeout=30)  # all that may be staged while this one is used, is
        np.testing.assert_array_equal(standin.read(pointers["x"], (2, 3)), batch(start)["x"])
    stream.close()


def test_the_loader_may_reuse_its_array(standin):
    def load():
        array = np.empty((2, 3), np.float32)
        for start in range(6):
            array[:] = start
            yield {"x": array}

    stream = CudaDevice().stream(load())
    for start in range(6):
        assert (standin.read(stream.next()["x"], (2, 3)) == start).all()
    stream.close()


def test_arrays_of_any_layout_and_byte_order(standin):
    strided = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    swapped = np.arange(4, dtype=">i4").reshape(2, 2)
    stream = CudaDevice().stream([{"strided": strided, "swapped": swapped, "list": [True, False]}])
    pointers = stream.next()
    np.testing.assert_array_equal(standin.read(pointers["strided"], (2, 2)), strided)
    np.testing.assert_array_equal(standin.read(pointers["swapped"], (2, 2), "int32"), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(standin.read(pointers["list"], (2,), "bool"), [True, False])
    stream.close()


def test_loads_the_next_batch_while_one_is_used(standin):
    """Load k + 1 begins before consume k ends: here consume k does not end until load k + 1 has begun."""
    begun = [threading.Event() for _ in range(6)]

    def load():
        for index, event in enumerate(begun):
            standin.mark(f"load {index}")
            event.set()
            yield batch(index)

    stream = CudaDevice().stream(load())
    for index in range(5):
        assert stream.next() is not None
        standin.mark(f"consume {index} begins")
        assert begun[index + 1].wait(timeout=30)
        standin.mark(f"consume {index} ends")
    stream.close()
    log = standin.log()
    for index in range(5):
        assert log.index(f"load {index + 1}") < log.index(f"consume {index} ends")


def test_the_next_copy_is_queued_while_one_batch_is_used(standin):
    staged = threading.Semaphore(0)

    def load():
        for index in range(4):
            yield {"x": np.full((1, 5), index, np.float32)}
            staged.release()

    stream = CudaDevice().stream(load())
    for index in range(3):
        stream.next()
        for _ in range(2 if index == 0 else 1):
            assert staged.acquire(timeout=30)
        standin.mark(f"in use {index}")
    stream.close()
    log = standin.log()
    copies = [line for line in log if line.startswith("cuMemcpyHtoDAsync 20 ")]
    assert len(copies) == 4
    for index in range(3):
        queued = [line for line in log[: log.index(f"in use {index}")] if line in copies]
        assert len(queued) == index + 2


def test_no_pointer_before_its_event(standin):
    """Between the record of a batch's event and the hand-out of its pointers lies a wait for that event."""
    length = len(standin.log())
    stream = CudaDevice(slots=3).stream(batch(start) for start in range(9))
    for index in range(9):
        stream.next()
        standin.mark(f"handed out {index}")
    stream.close()
    log = standin.log()[length:]
    records = [number for number, line in enumerate(log) if line.startswith("cuEventRecord")]
    assert len(records) == 9
    for index, record in enumerate(records):
        event = log[record].split()[1]
        until = log.index(f"handed out {index}")
        assert record < until
        assert f"cuEventSynchronize {event}" in log[record:until]
        # Both copies lie before the event on its stream.
        assert sum(line.startswith("cuMemcpyHtoDAsync") for line in log[:record]) >= 2 * (index + 1)


def test_copies_go_through_a_stream_of_their_own(standin):
    length = len(standin.log())
    CudaDevice().stream([batch(0)]).close()
    stream = CudaDevice().stream([batch(0)])
    stream.next()
    stream.close()
    log = standin.log()[length:]
    created = [line.split()[1] for line in log if line.startswith("cuStreamCreate")]
    assert [line.split()[3] for line in log if line.startswith("cuStreamCreate")] == [
        "1",
        "1",
    ]  # non-blocking
    used = {line.split()[-1] for line in log if line.startswith("cuMemcpyHtoDAsync")}
    assert used
    assert used <= set(created)


def test_waits_for_the_consumers_work_before_overwriting(standin):
    """A consumer that queues work on a batch and returns at once still reads that batch."""
    import pycuda.driver as driver

    class Consumer:
        def __init__(self):
            driver.init()
            self.context = driver.Device(0).retain_primary_context()
            self.context.push()
            self.stream = driver.Stream(1)
            self.copies = [driver.mem_alloc(24) for _ in range(4)]
            driver.Context.pop()

        def queue(self, index, pointer):
            self.context.push()
            driver.memcpy_dtod_async(self.copies[index], pointer, 24, self.stream)
            driver.Context.pop()

        def close(self):
            self.context.push()
            for allocation in self.copies:
                allocation.free()
            self.stream = None
            driver.Context.pop()

    consumer = Consumer()
    stream = CudaDevice(slots=1).stream(batch(start) for start in range(4))
    for index in range(4):
        consumer.queue(index, stream.next()["x"])
    assert stream.next() is None
    for index in range(4):
        np.testing.assert_array_equal(standin.read(int(consumer.copies[index]), (2, 3)), batch(index)["x"])
    consumer.close()
    # pycuda leaves its primary context on the driver's stack; see PrimaryContext.release.
    from trt_int8.streamer.context import PrimaryContext

    owner = PrimaryContext.__new__(PrimaryContext)
    owner._driver, owner._context = driver, consumer.context
    owner.release()


def test_says_what_memory_it_takes(standin):
    stream = CudaDevice(slots=3).stream([batch(0, size=16)])
    assert stream.memory is None or stream.memory.device > 0
    stream.next()
    assert stream.memory == StreamMemory(device=3 * (16 * 3 * 4 + 16 * 4), pinned=3 * (16 * 3 * 4 + 16 * 4))
    assert standin.count("device bytes") == stream.memory.device
    assert standin.count("pinned bytes") == stream.memory.pinned
    stream.close()
    assert str(StreamMemory(device=3 << 20, pinned=1 << 19)) == (
        "3.0 MiB on the GPU and 0.5 MiB pinned on the host"
    )


def test_refuses_what_does_not_fit_before_it_allocates(standin):
    huge = np.broadcast_to(np.zeros(1, np.float32), (1, 5 << 28))  # 5 GiB, none of it real
    stream = CudaDevice().stream([{"x": huge}])
    with pytest.raises(
        CalibrationError, match=r"needs 10240\.0 MiB on the GPU.*8192\.0 MiB free.*smaller batch"
    ):
        stream.next()
    assert standin.count("pinned allocations") == 0
    stream.close()


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


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, "batch 1: inputs x, where batch 0 has x, mask"),
        ({**batch(1), "y": np.zeros(2)}, "batch 1: inputs x, mask, y, where"),
        (
            {**batch(1), "x": np.zeros((2, 4), np.float32)},
            r"batch 1, input x: float32\[2, 4\].* float32\[2, 3\]",
        ),
        ({**batch(1), "x": np.zeros((2, 3), np.float16)}, r"batch 1, input x: float16\[2, 3\] on the host"),
        (batch(1, size=1), r"batch 1, input x: float32\[1, 3\].*drop or pad the short batch"),
    ],
)
def test_batches_must_look_alike(standin, second, message):
    before = standin.alive()
    stream = CudaDevice().stream([batch(0), second])
    assert stream.next() is not None
    with pytest.raises(DataError, match=message):
        stream.next()
    assert standin.alive() == before


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({}, "holds no input"),
        ({"x": np.float32(1)}, "input x: a scalar has no batch axis"),
        ({"x": np.zeros((0, 3), np.float32)}, r"shape \[0, 3\] holds nothing"),
        ({"x": np.zeros((2, 3))}, r"TensorRT reads no float64; convert it with \.astype\(numpy\.float32\)"),
        ({"x": np.array(["a"])}, "TensorRT reads no str"),
        ({"x": np.zeros((2, 3), np.int8), "y": np.zeros((3, 3), np.int8)}, "disagree about the batch size"),
    ],
)
def test_refuses_a_first_batch_that_tensorrt_cannot_read(standin, first, message):
    before = standin.alive()
    stream = CudaDevice().stream([first])
    with pytest.raises(DataError, match=message):
        stream.next()
    assert standin.alive() == before


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


def test_no_gpu(standin):
    standin.fail("cuInit", code=100)
    with pytest.raises(CalibrationError, match=r"CUDA does not start: .*no CUDA-capable device"):
        CudaDevice()


def test_no_such_gpu(standin):
    with pytest.raises(CalibrationError, match="cannot use GPU 7"):
        CudaDevice(ordinal=7).stream([batch(0)])


def test_what_cannot_be_iterated_is_refused_at_once(standin):
    with pytest.raises(TypeError, match="not iterable"):
        CudaDevice().stream(7)


def test_a_context_of_the_callers_stays_current(standin):
    import pycuda.driver as driver

    from trt_int8.streamer.context import PrimaryContext

    driver.init()
    owner = PrimaryContext(driver, 0)
    with owner.current():
        assert standin.count("stack depth") == 1
        current = driver.Context.get_current()
        stream = CudaDevice().stream([batch(0)])
        stream.next()
        assert driver.Context.get_current() == current
        stream.close()
        assert driver.Context.get_current() == current
        assert standin.count("stack depth") == 1
        driver.mem_alloc(16).free()
    owner.release()


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

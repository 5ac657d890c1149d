"""The streamer on the real pycuda: bytes, batches, memory."""

import threading

import numpy as np
import pytest

from streamer.batches import batch
from trt_int8.errors import CalibrationError, DataError
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.device import BatchStream, Device
from trt_int8.streamer.ring import StreamMemory


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


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, "batch 1 has the inputs x, but batch 0 has x, mask"),
        ({**batch(1), "y": np.zeros(2)}, "batch 1 has the inputs x, mask, y, but"),
        (
            {**batch(1), "x": np.zeros((2, 4), np.float32)},
            r"batch 1, input x is float32\[2, 4\].* float32\[2, 3\]",
        ),
        ({**batch(1), "x": np.zeros((2, 3), np.float16)}, r"batch 1, input x is float16\[2, 3\] on the host"),
        (batch(1, size=1), r"batch 1, input x is float32\[1, 3\].*drop or pad the short batch"),
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
        ({}, "has no inputs"),
        ({"x": np.float32(1)}, "input x: a scalar has no batch axis"),
        ({"x": np.zeros((0, 3), np.float32)}, r"the array is empty \(shape \[0, 3\]\)"),
        (
            {"x": np.zeros((2, 3))},
            r"TensorRT does not support float64; convert it with \.astype\(numpy\.float32\)",
        ),
        ({"x": np.array(["a"])}, "TensorRT does not support str"),
        ({"x": np.zeros((2, 3), np.int8), "y": np.zeros((3, 3), np.int8)}, "have different batch sizes"),
    ],
)
def test_refuses_a_first_batch_that_tensorrt_cannot_read(standin, first, message):
    before = standin.alive()
    stream = CudaDevice().stream([first])
    with pytest.raises(DataError, match=message):
        stream.next()
    assert standin.alive() == before


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

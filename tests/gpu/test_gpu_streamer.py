"""The streamer on a real device: what tests/streamer shows on a stand-in, and what only a GPU can show."""

import ctypes
import json
import time

import numpy as np
import pytest

from trt_int8.streamer.context import cuda_library
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.layout import InputLayout
from trt_int8.streamer.normalize import Normalize
from trt_int8.streamer.ring import Buffers, CopyQueue, InputRoute

pytestmark = pytest.mark.gpu


def random_batches(count, shape=(8, 3, 64, 64)):
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal(shape, np.float32), "n": np.full(shape[:1], i)} for i in range(count)]


def current_context():
    context = ctypes.c_void_p()
    assert cuda_library().cuCtxGetCurrent(ctypes.byref(context)) == 0
    return context.value


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_bytes_arrive_in_order(gpu, slots):
    batches = random_batches(20)
    stream = CudaDevice(slots=slots).stream(batches)
    for batch in batches:
        pointers = stream.next()
        np.testing.assert_array_equal(gpu.read(pointers["x"], batch["x"].shape), batch["x"])
        np.testing.assert_array_equal(gpu.read(pointers["n"], (8,), "int64"), batch["n"])
    assert stream.next() is None


def test_nothing_leaks_over_1000_batches(gpu):
    (batch,) = random_batches(1)
    for _ in range(2):  # the first use of a context takes memory that it keeps
        first = CudaDevice().stream([batch])
        while first.next() is not None:
            pass
    before = gpu.free_bytes()
    stream = CudaDevice().stream(batch for _ in range(1000))
    stream.next()
    taken = before - gpu.free_bytes()
    while stream.next() is not None:
        pass
    assert taken < stream.memory.device + (64 << 20)
    assert abs(gpu.free_bytes() - before) < 4 << 20


def test_the_context_of_the_caller_stays(gpu):
    before = current_context()
    stream = CudaDevice().stream(random_batches(2))
    stream.next()
    assert current_context() == before
    stream.close()
    assert current_context() == before


@pytest.mark.parametrize(
    ("normalize", "shape"),
    [
        (Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), (4, 224, 225, 3)),
        (Normalize(scale=1 / 127.5, mean=(1.0,), layout="NCHW"), (3, 3, 61, 47)),
        (Normalize(scale=1 / 256), (64, 28, 28, 1)),
    ],
)
def test_the_normalizing_kernel_equals_numpy_bit_for_bit(gpu, normalize, shape):
    rng = np.random.default_rng(0)
    batches = [{"x": rng.integers(0, 256, shape, np.uint8)} for _ in range(3)]
    stream = CudaDevice(normalize={"x": normalize}).stream(batches)
    for batch in batches:
        expected = normalize.on_host(batch["x"])
        got = gpu.read(stream.next()["x"], expected.shape)
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))
    stream.close()


def test_the_bandwidth_is_that_of_pinned_memory(gpu, record_property):
    """The streamer's own buffers and stream, against a plain copy of pinned memory of the same size."""
    nbytes = 256 << 20
    driver = gpu.driver
    with gpu.context.current():
        buffers = Buffers(driver, InputRoute(InputLayout((nbytes,), "uint8", on_device=False)))
        buffers.allocate()
        queue = CopyQueue(driver)
        plain = driver.pagelocked_empty(nbytes, np.uint8)
        target = driver.mem_alloc(nbytes)

        def milliseconds(to, source, stream):
            best = float("inf")
            for _ in range(5):
                start, end = driver.Event(), driver.Event()
                start.record(stream)
                driver.memcpy_htod_async(to, source, stream)
                end.record(stream)
                end.synchronize()
                best = min(best, end.time_since(start))
            return best

        ours = milliseconds(buffers._device, buffers._host, queue.stream)
        reference = milliseconds(target, plain, None)
        queue.close()
        buffers.free()
        plain.base.free()
        target.free()
    figures = {"ours_GB_s": nbytes / ours / 1e6, "pinned_memcpy_GB_s": nbytes / reference / 1e6}
    record_property("bandwidth", json.dumps(figures))
    print(figures)
    assert ours < 1.1 * reference


def test_loading_is_hidden_behind_the_gpus_work(gpu, record_property):
    """Wall time against the longer of loading alone and using alone, which are made about equal."""
    source = np.random.default_rng(0).standard_normal((8, 3, 224, 224), np.float32)
    scratch = gpu.allocate(source.nbytes)
    count = 20

    def load():
        return {"x": np.sort(source, axis=-1, kind="stable")}

    def use(pointer, repeats):
        with gpu.context.current():
            for _ in range(repeats):
                gpu.driver.memcpy_dtod_async(scratch, pointer, source.nbytes, None)
            gpu.driver.Context.synchronize()

    def clock(action):
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    loading = count * min(clock(load) for _ in range(3))
    stream = CudaDevice().stream([load()])
    pointer = stream.next()["x"]
    clock(lambda: use(pointer, 100))
    repeats = max(1, round(loading / count / (clock(lambda: use(pointer, 100)) / 100)))
    using = count * min(clock(lambda: use(pointer, repeats)) for _ in range(3))
    stream.close()

    def streamed():
        stream = CudaDevice().stream(load() for _ in range(count))
        while (batch := stream.next()) is not None:
            use(batch["x"], repeats)

    wall = min(clock(streamed) for _ in range(3))
    figures = {"load_s": loading, "use_s": using, "wall_s": wall, "ratio": wall / max(loading, using)}
    record_property("overlap", json.dumps(figures))
    print(figures)
    assert figures["ratio"] < 1.25

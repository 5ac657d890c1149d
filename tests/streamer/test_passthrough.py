"""Arrays that are on the GPU already: used where they are, and only if they can be."""

import ctypes

import numpy as np
import pytest

from trt_int8.errors import DataError
from trt_int8.streamer import passthrough
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.passthrough import _DLTensor, device_array

CODES = {"float32": (2, 32), "float16": (2, 16), "bfloat16": (4, 16), "uint8": (1, 8), "int64": (0, 64)}


class Exporter:
    """An array in memory of ours, shared by DLPack as torch shares a tensor."""

    def __init__(self, address, shape, dtype, *, kind=2, device=0, strides=None, offset=0, lanes=1):
        code, bits = CODES[dtype]
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._strides = (ctypes.c_int64 * len(shape))(*strides) if strides else None
        self._tensor = _DLTensor(
            address, kind, device, len(shape), code, bits, lanes, self._shape, self._strides, offset
        )
        self.streams = []

    def __dlpack_device__(self):
        return self._tensor.device_type, self._tensor.device_id

    def __dlpack__(self, *, stream):
        self.streams.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


class Interface:
    """An array shared by the CUDA array interface alone."""

    def __init__(self, address, shape, typestr="<f4", **entries):
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": typestr,
            "version": 3,
            **entries,
        }


def accept(value, *, ordinal=0):
    return device_array(value, place="batch 3, input x", ordinal=ordinal, stream=77, device_of=lambda _: 0)


def test_reads_what_numpy_exports():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, 1:, ::2]
    tensor = passthrough.read(array.__dlpack__())
    assert tensor.pointer == array.ctypes.data
    assert (tensor.shape, tensor.dtype, tensor.strides) == ((2, 2, 2), "int16", (12, 4, 2))


@pytest.mark.parametrize("dtype", list(CODES))
def test_dlpack_on_the_gpu(dtype):
    value = Exporter(0x1000, (2, 3), dtype, strides=(3, 1), offset=64)
    array = accept(value)
    assert (array.pointer, array.shape, array.dtype, array.ordered) == (0x1040, (2, 3), dtype, True)
    assert value.streams == [77]  # the producer orders its work before ours


@pytest.mark.parametrize("value", [np.zeros((2, 3)), [1.0], Exporter(0, (1,), "uint8", kind=3)])
def test_arrays_on_the_host_are_left_alone(value):
    assert accept(value) is None


def test_dlpack_is_preferred_over_the_array_interface():
    value = Exporter(0x1000, (2, 3), "float32")
    value.__cuda_array_interface__ = None
    assert accept(value).pointer == 0x1000


@pytest.mark.parametrize(
    ("entries", "ordered"), [({"stream": None}, True), ({"stream": 5}, False), ({}, False)]
)
def test_array_interface_on_the_gpu(entries, ordered):
    array = accept(Interface(0x2000, (2, 3), "<f2", strides=(6, 2), **entries))
    assert (array.pointer, array.shape, array.dtype, array.ordered) == (0x2000, (2, 3), "float16", ordered)


@pytest.mark.parametrize(
    ("strides", "contiguous"),
    [(None, True), ((12, 4, 1), True), ((12, 99, 1), False), ((1, 2, 6), False), ((24, 4, 2), False)],
)
def test_contiguity(strides, contiguous):
    value = Exporter(0x1000, (2, 3, 4), "float32", strides=strides)
    if contiguous:
        assert accept(value).shape == (2, 3, 4)
    else:
        with pytest.raises(
            DataError, match=r"batch 3, input x: shape \[2, 3, 4\] with strides .* contiguous"
        ):
            accept(value)


def test_the_stride_of_an_axis_of_length_one_means_nothing():
    assert accept(Exporter(0x1000, (1, 3, 1), "float32", strides=(7, 1, 9))).shape == (1, 3, 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Exporter(0x1000, (2,), "float32", device=1), "it is on GPU 1, but calibration runs on GPU 0"),
        (Exporter(0x1000, (2,), "float32", kind=10), "DLPack device type 10 is not CUDA"),
        (
            Exporter(0x1000, (2,), "float32", lanes=4),
            "Exporter cannot be shared: DLPack type code 2 with 4 lanes",
        ),
        (Interface(0x2000, (2,), mask=Interface(0, (2,))), "masked arrays"),
    ],
)
def test_refusals(value, message):
    with pytest.raises(DataError, match=f"batch 3, input x: {message}"):
        accept(value)


def test_a_producer_that_refuses_is_named():
    class Tensor:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    with pytest.raises(DataError, match=r"Tensor cannot be shared: Can't get .* requires grad"):
        accept(Tensor())


class Gpu:
    """Arrays on the stand-in's GPU, as a loader there would make them."""

    def __init__(self):
        import pycuda.driver as driver

        from trt_int8.streamer.context import PrimaryContext

        driver.init()
        self.driver = driver
        self.context = PrimaryContext(driver, 0)
        self.allocations = []

    def array(self, values):
        with self.context.current():
            self.allocations.append(self.driver.mem_alloc(values.nbytes))
            self.driver.memcpy_htod(self.allocations[-1], values)
        return int(self.allocations[-1])

    def close(self):
        with self.context.current():
            while self.allocations:
                self.allocations.pop().free()
        self.context.release()


@pytest.fixture
def gpu(standin):
    if standin is None:
        yield None
        return
    gpu = Gpu()
    yield gpu
    gpu.close()


def test_gpu_batches_pass_through_uncopied(standin, gpu):
    length = len(standin.log())
    addresses = [gpu.array(np.full((2, 3), index, np.float32)) for index in range(4)]
    device_bytes = standin.count("device bytes")

    def load():
        for index, address in enumerate(addresses):
            shared = Exporter(address, (2, 3), "float32")
            yield {"x": shared, "y": np.full((2, 1), index, np.int32)}
            assert shared.streams[0] > 1  # a stream of the streamer's, not the default one

    stream = CudaDevice().stream(load())
    for index, address in enumerate(addresses):
        pointers = stream.next()
        assert pointers["x"] == address
        assert (standin.read(pointers["y"], (2, 1), "int32") == index).all()
    assert standin.count("device bytes") == device_bytes + 2 * 2 * 4  # y alone takes memory
    assert (stream.memory.device, stream.memory.pinned) == (16, 16)
    assert stream.next() is None
    copies = [line for line in standin.log()[length:] if line.startswith("cuMemcpyHtoDAsync")]
    assert len(copies) == 4
    assert all(" 8 " in line for line in copies)


def test_the_loader_of_gpu_batches_is_not_run_ahead(standin, gpu):
    """A pipeline that reuses its one GPU buffer, as DALI does, gets each batch used before the next."""
    address = gpu.array(np.zeros((2, 3), np.float32))

    def load():
        for index in range(5):
            with gpu.context.current():
                gpu.driver.memcpy_htod(address, np.full((2, 3), index, np.float32))
            yield {"x": Interface(address, (2, 3), stream=None)}

    stream = CudaDevice(slots=3).stream(load())
    for index in range(5):
        assert (standin.read(stream.next()["x"], (2, 3)) == index).all()
    assert stream.next() is None


def test_owners_live_until_their_batch_is_done(standin, gpu):
    import weakref

    address = gpu.array(np.zeros((2, 3), np.float32))
    owners = []

    def load():
        for _ in range(3):
            value = Interface(address, (2, 3), stream=None)
            owners.append(weakref.ref(value))
            batch = {"x": value}
            del value
            yield batch
            del batch

    stream = CudaDevice().stream(load())
    stream.next()
    assert owners[0]() is not None
    stream.next()
    assert owners[1]() is not None
    assert owners[0]() is None
    stream.close()
    assert owners[1]() is None


def test_pending_work_of_the_producer_is_waited_for(standin, gpu):
    """The producer's copy is still queued on a stream of its own when it shares the array."""
    source, target = gpu.array(np.full((2, 3), 5, np.float32)), gpu.array(np.zeros((2, 3), np.float32))
    with gpu.context.current():
        producer = [gpu.driver.Stream(1)]

    def load():
        with gpu.context.current():
            gpu.driver.memcpy_dtod_async(target, source, 24, producer[0])
        yield {"x": Interface(target, (2, 3), stream=producer[0].handle)}

    stream = CudaDevice().stream(load())
    assert (standin.read(stream.next()["x"], (2, 3)) == 5).all()
    stream.close()
    with gpu.context.current():
        producer.clear()


@pytest.mark.parametrize("where", ["host", "nowhere"])
def test_an_address_that_is_not_the_gpus_is_refused(standin, gpu, where):
    values = np.zeros((2, 3), np.float32)
    stream = CudaDevice().stream([{"x": Interface(values.ctypes.data if where == "host" else 64, (2, 3))}])
    with pytest.raises(DataError, match=r"batch 0, input x: address 0x[0-9a-f]+ is not CUDA memory"):
        stream.next()


def test_a_change_of_place_is_refused(standin, gpu):
    address = gpu.array(np.zeros((2, 3), np.float32))
    stream = CudaDevice().stream(
        [{"x": Exporter(address, (2, 3), "float32")}, {"x": np.zeros((2, 3), np.float32)}]
    )
    stream.next()
    with pytest.raises(DataError, match=r"float32\[2, 3\] on the host, but batch 0 is .* on the GPU"):
        stream.next()


def test_pycudas_own_arrays_pass_through(standin, gpu):
    from pycuda import gpuarray

    with gpu.context.current():
        array = gpuarray.to_gpu(np.arange(6, dtype=np.float32).reshape(2, 3))
    stream = CudaDevice().stream([{"x": array}])
    assert stream.next()["x"] == int(array.gpudata)
    stream.close()
    with gpu.context.current():
        array.gpudata.free()

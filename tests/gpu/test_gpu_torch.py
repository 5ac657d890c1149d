"""The streamer beside torch, which uses the same primary context through CUDA's runtime."""

import numpy as np
import pytest

from trt_int8.errors import DataError
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.normalize import Normalize

pytestmark = pytest.mark.gpu


@pytest.fixture
def torch(gpu):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch


def test_torch_works_before_during_and_after(torch):
    def product():
        matrix = torch.eye(64, device="cuda") * 3
        return (matrix @ matrix).diagonal().sum().item()

    assert product() == 64 * 9
    stream = CudaDevice().stream([{"x": np.zeros((2, 3), np.float32)}] * 3)
    stream.next()
    assert product() == 64 * 9
    stream.close()
    assert product() == 64 * 9


def test_tensors_pass_through_uncopied(torch, gpu):
    tensors = [torch.full((4, 3), float(index), device="cuda") for index in range(5)]
    stream = CudaDevice().stream({"x": tensor} for tensor in tensors)
    for index, tensor in enumerate(tensors):
        pointer = stream.next()["x"]
        assert pointer == tensor.data_ptr()
        assert (gpu.read(pointer, (4, 3)) == index).all()
    assert (stream.memory.device, stream.memory.pinned) == (0, 0)
    stream.close()


def test_work_under_way_on_a_stream_of_torchs_is_waited_for(torch, gpu):
    def load():
        side = torch.cuda.Stream()
        for index in range(5):
            with torch.cuda.stream(side):
                tensor = torch.zeros((4, 3), device="cuda")
                torch.cuda._sleep(100_000_000)  # cycles: some 50 ms
                tensor += index + 1
                yield {"x": tensor}

    stream = CudaDevice().stream(load())
    for index in range(5):
        assert (gpu.read(stream.next()["x"], (4, 3)) == index + 1).all()
    stream.close()


def test_bfloat16_and_uint8_tensors(torch, gpu):
    values = torch.arange(6, dtype=torch.bfloat16, device="cuda").reshape(2, 3)
    stream = CudaDevice().stream([{"x": values}])
    raw = gpu.read(stream.next()["x"], (2, 3), "uint16")
    np.testing.assert_array_equal(raw, values.view(torch.int16).cpu().numpy().view(np.uint16))
    stream.close()
    image = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8, device="cuda").reshape(2, 4, 5, 3)
    stream = CudaDevice(normalize={"x": Normalize()}).stream([{"x": image}])
    np.testing.assert_array_equal(
        gpu.read(stream.next()["x"], (2, 3, 4, 5)), Normalize().on_host(image.cpu().numpy())
    )
    stream.close()


def test_tensors_that_are_not_contiguous_are_refused(torch):
    stream = CudaDevice().stream([{"x": torch.zeros((4, 6), device="cuda")[:, ::2]}])
    with pytest.raises(DataError, match="contiguous"):
        stream.next()


def test_host_tensors_are_copied(torch, gpu):
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    stream = CudaDevice().stream([{"x": values}, {"x": values.pin_memory()}])
    for _ in range(2):
        np.testing.assert_array_equal(gpu.read(stream.next()["x"], (2, 3)), values.numpy())
    stream.close()

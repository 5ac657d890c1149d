"""The normalizing kernel: its arithmetic, its compilation to PTX, and its run inside the streamer."""

import re

import numpy as np
import pytest

from trt_int8.errors import CalibrationError, DataError, MissingDependencyError
from trt_int8.streamer import nvrtc
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.normalize import Normalize, kernel_source
from trt_int8.streamer.nvrtc import compile_ptx

IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_the_arithmetic_on_one_pixel():
    normalize = Normalize(scale=0.5, mean=(1, 2, 3), std=(2, 4, 0.5))
    pixel = np.array([10, 20, 30], np.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(normalize.on_host(pixel).reshape(3), [2, 2, 24])


def test_channels_come_first():
    batch = images(2, 4, 5, 3)
    result = Normalize(scale=1).on_host(batch)
    assert (result.shape, result.dtype, result.flags.c_contiguous) == ((2, 3, 4, 5), np.float32, True)
    assert result[1, 2, 3, 4] == batch[1, 3, 4, 2]


def test_matches_the_same_in_double_precision():
    batch = images(2, 8, 8, 3)
    exact = (batch.astype(float) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(IMAGENET.on_host(batch), exact.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("normalize", "shape"),
    [
        (IMAGENET, (2, 5, 7, 3)),
        (Normalize(scale=1 / 127.5, mean=(1.0,), layout="NCHW"), (3, 3, 6, 4)),
        (Normalize(), (4, 28, 28, 1)),
        (Normalize(mean=(0.1, 0.2, 0.3, 0.4), std=(1, 2, 3, 4)), (1, 300, 301, 4)),  # more than one block
    ],
)
def test_the_kernel_equals_numpy_bit_for_bit(standin, normalize, shape):
    batches = [images(*shape) for _ in range(3)]
    stream = CudaDevice(normalize={"x": normalize}).stream({"x": batch} for batch in batches)
    for batch in batches:
        expected = normalize.on_host(batch)
        got = standin.read(stream.next()["x"], expected.shape)
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))
    stream.close()


def test_a_quarter_of_the_bytes_cross_the_bus(standin):
    length = len(standin.log())
    stream = CudaDevice(normalize={"x": IMAGENET}).stream([{"x": images(2, 5, 7, 3)}])
    stream.next()
    log = standin.log()[length:]
    copied = [int(line.split()[1]) for line in log if line.startswith("cuMemcpyHtoDAsync")]
    assert copied == [2 * 5 * 7 * 3]
    assert (stream.memory.pinned, stream.memory.device) == (2 * 210, 2 * (210 + 4 * 210))
    # Copy, kernel, event, in this order on one stream.
    order = [line.split()[0] for line in log if re.match(r"cuMemcpyH|cuLaunch|cuEventRecord", line)]
    assert order == ["cuMemcpyHtoDAsync", "cuLaunchKernel", "cuEventRecord"]
    assert len({line.split()[-1] for line in log if re.match(r"cuMemcpyH|cuLaunch", line)}) == 1
    stream.close()


def test_images_on_the_gpu_are_normalized_from_where_they_are(standin):
    from streamer.test_passthrough import Exporter, Gpu

    gpu = Gpu()
    batch = images(2, 5, 7, 3)
    exported = Exporter(gpu.array(batch), batch.shape, "uint8")
    stream = CudaDevice(normalize={"x": IMAGENET}).stream([{"x": exported}])
    np.testing.assert_array_equal(standin.read(stream.next()["x"], (2, 3, 5, 7)), IMAGENET.on_host(batch))
    assert (stream.memory.pinned, stream.memory.device) == (0, 2 * 4 * 210)
    stream.close()
    gpu.close()


@pytest.mark.parametrize(
    "function", ["cuModuleLoadDataEx", "cuModuleGetFunction", "cuLaunchKernel", "cuDeviceComputeCapability"]
)
def test_a_failing_kernel_is_raised_and_leaks_nothing(standin, function):
    standin.fail(function, code=222)
    stream = CudaDevice(normalize={"x": IMAGENET}).stream([{"x": images(1, 2, 2, 3)}])
    with pytest.raises(CalibrationError, match="unsupported toolchain") as caught:
        stream.next()
    assert standin.count("modules") == standin.count("device allocations") == 0
    if function == "cuModuleLoadDataEx":
        assert "install the nvidia-cuda-nvrtc-cu12 that nvidia-smi shows" in str(caught.value)


@pytest.mark.parametrize(
    ("batch", "normalize", "message"),
    [
        (
            {"x": np.zeros((1, 2, 2, 3), np.float32)},
            IMAGENET,
            r"uint8 NHWC batches are .* float32\[1, 2, 2, 3\]",
        ),
        ({"x": np.zeros((1, 2, 3), np.uint8)}, IMAGENET, r"got uint8\[1, 2, 3\]"),
        ({"x": np.zeros((1, 3, 2, 2), np.uint8)}, IMAGENET, "2 channels .* mean has 3 and std 3"),
        ({"x": np.zeros((1, 2, 2, 5), np.uint8)}, Normalize(), "5 channels .* at most 4 channels"),
        (
            {"y": np.zeros((1, 2, 2, 3), np.uint8)},
            IMAGENET,
            "normalize= has x, which is not an input of batch 0; its inputs are y",
        ),
    ],
)
def test_batches_that_cannot_be_normalized(standin, batch, normalize, message):
    stream = CudaDevice(normalize={"x": normalize}).stream([batch])
    with pytest.raises(DataError, match=message):
        stream.next()


@pytest.mark.parametrize(
    "settings", [{"std": (0.0,)}, {"mean": (float("nan"),)}, {"layout": "HWC"}, {"scale": float("inf")}]
)
def test_bad_settings(settings):
    with pytest.raises(DataError):
        Normalize(**settings)


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (8, 9), (9, 0)])
def test_nvrtc_compiles_the_kernel_without_a_gpu(capability):
    ptx = compile_ptx(kernel_source(), compute_capability=capability)
    assert ptx.endswith(b"\0")
    text = ptx.decode()
    assert f".target sm_{capability[0]}{capability[1]}" in text
    # The arguments as the host packs them: two addresses, two 64-bit and two 32-bit counts, 9 floats.
    parameters = re.findall(r"\.param (?:\.align \d+ )?\.(\w+) normalize_param_\d+(\[36\])?", text)
    assert parameters == [("u64", "")] * 4 + [("u32", "")] * 2 + [("b8", "[36]")]
    # Rounded after each step; without .rn, the driver may fuse them.
    assert all(f"\t{step}.rn.f32" in text for step in ("mul", "sub", "div"))


def test_a_gpu_newer_than_nvrtc_gets_the_newest_target():
    newest = re.search(rb"\.target sm_(\d+)", compile_ptx(kernel_source(), compute_capability=(99, 0)))
    assert int(newest[1]) >= 90


def test_a_gpu_older_than_nvrtc():
    with pytest.raises(CalibrationError, match=r"the GPU has 3\.0: install an older nvidia-cuda-nvrtc"):
        compile_ptx(kernel_source(), compute_capability=(3, 0))


def test_a_syntax_error_shows_the_compilers_log():
    with pytest.raises(CalibrationError, match=r"(?s)cannot compile kernel.cu for .*kernel\.cu\(1\): error"):
        compile_ptx("extern not C", compute_capability=(8, 0))


def test_without_nvrtc(monkeypatch):
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(["libnvrtc-missing.so"]))
    with pytest.raises(MissingDependencyError, match="pip install nvidia-cuda-nvrtc-cu12"):
        compile_ptx(kernel_source(), compute_capability=(8, 0))

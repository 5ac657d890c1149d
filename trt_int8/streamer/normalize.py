"""Normalize uint8 images on the GPU, so that only a quarter of the bytes are copied over PCIe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import DataError
from trt_int8.streamer.context import cuda_errors
from trt_int8.streamer.nvrtc import compile_ptx

#: Length of the kernel's per-channel tables.
MAX_CHANNELS = 4
_THREADS = 256
_MAX_BLOCKS = 65_535


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """The conversion ``(pixel * scale - mean[channel]) / std[channel]`` to float32, N C H W.

    Attributes:
        scale: applied first, 1/255 by default.
        mean, std: one value per channel, or one for all.
        layout: of the uint8 batches, "NHWC" (as images are decoded) or "NCHW".
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    def __post_init__(self) -> None:
        if self.layout not in ("NHWC", "NCHW"):
            raise DataError(f"layout is {self.layout!r}; it must be NHWC or NCHW")
        if not all(math.isfinite(value) for value in (self.scale, *self.mean, *self.std)) or 0 in self.std:
            raise DataError(f"scale, mean and std must be finite, std not 0: {self}")

    def output_shape(self, shape: tuple[int, ...], dtype: str, place: str) -> tuple[int, int, int, int]:
        """Return the shape of the float32 result, N C H W.

        Raises:
            DataError: not a uint8 batch of images, or its channels do not fit mean and std.
        """
        if dtype != "uint8" or len(shape) != 4:
            raise DataError(
                f"{place}: only uint8 {self.layout} batches are normalized, got {dtype}{list(shape)}"
            )
        n, c, h, w = (shape[axis] for axis in ((0, 3, 1, 2) if self.layout == "NHWC" else (0, 1, 2, 3)))
        if c > MAX_CHANNELS or any(len(values) not in (1, c) for values in (self.mean, self.std)):
            raise DataError(
                f"{place}: {c} channels in {list(shape)} ({self.layout}), mean has {len(self.mean)} and std "
                f"{len(self.std)} values; at most {MAX_CHANNELS} channels"
            )
        return n, c, h, w

    def on_host(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert ``batch`` on the CPU, bit for bit as the kernel does."""
        _, channels, _, _ = self.output_shape(batch.shape, batch.dtype.name, "batch")
        planes = batch.transpose(0, 3, 1, 2) if self.layout == "NHWC" else batch
        scale, mean, std = self.table(channels)
        normalized = (planes.astype(np.float32) * scale - mean[:, None, None]) / std[:, None, None]
        return np.ascontiguousarray(normalized)

    def table(self, channels: int) -> tuple[np.float32, NDArray[np.float32], NDArray[np.float32]]:
        """Return scale, mean and std as float32, mean and std per channel."""
        mean = np.broadcast_to(np.asarray(self.mean, np.float32), (channels,))
        std = np.broadcast_to(np.asarray(self.std, np.float32), (channels,))
        return np.float32(self.scale), mean, std


def kernel_source() -> str:
    """Return the CUDA C source of the kernel."""
    return resources.files("trt_int8.streamer").joinpath("normalize.cu").read_text(encoding="utf-8")


class NormalizeKernel:
    """The kernel, compiled and loaded into the current context."""

    def __init__(self, driver: Any, ordinal: int) -> None:
        self._driver = driver
        self._module: Any = None
        self._function: Any = None
        with cuda_errors(driver, f"cannot read the compute capability of GPU {ordinal}"):
            capability = driver.Device(ordinal).compute_capability()
        ptx = compile_ptx(kernel_source(), compute_capability=capability, name="normalize.cu")
        advice = "if its CUDA is older than NVRTC's, install the nvidia-cuda-nvrtc-cu12 that nvidia-smi shows"
        try:
            with cuda_errors(driver, f"the driver cannot load the normalization kernel ({advice})"):
                self._module = driver.module_from_buffer(ptx)
                self._function = self._module.get_function("normalize")
        except BaseException:
            self.close()
            raise

    def launch(
        self, normalize: Normalize, shape: tuple[int, int, int, int], pixels: int, planes: int, queue: Any
    ) -> None:
        """Queue the normalization of ``pixels`` (uint8) to ``planes`` (float32 of ``shape``, N C H W)."""
        n, c, h, w = shape
        count = n * h * w
        scale, mean, std = normalize.table(c)
        affine = np.zeros(1 + 2 * MAX_CHANNELS, np.float32)
        affine[0], affine[1 : 1 + c], affine[1 + MAX_CHANNELS : 1 + MAX_CHANNELS + c] = scale, mean, std
        with cuda_errors(self._driver, "the normalization kernel cannot be started"):
            self._function(
                np.uintp(pixels),
                np.uintp(planes),
                np.uint64(count),
                np.uint64(h * w),
                np.uint32(c),
                np.uint32(normalize.layout == "NHWC"),
                affine,
                grid=(min(-(-count // _THREADS), _MAX_BLOCKS), 1, 1),
                block=(_THREADS, 1, 1),
                stream=queue.stream,
            )

    def close(self) -> None:
        """Unload it; its context must be current."""
        self._function = self._module = None

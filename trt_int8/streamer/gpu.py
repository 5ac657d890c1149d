"""Find the GPUs of the CUDA driver, by calls to libcuda, as TensorRT does; pycuda is not needed."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The driver's own library.
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_MAJOR, _MINOR = 75, 76
_NO_DEVICE = 100
_ELSEWHERE = "start the container with --gpus all, or use a machine that has a GPU"


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        capability: compute capability, ``sm89``.
        driver: release of the driver, empty if not known.
        cuda: newest CUDA version that the driver supports.
    """

    name: str
    capability: str
    driver: str
    cuda: str


@dataclass(frozen=True)
class NoGpu:
    """The reason why there is no GPU, what to do, and whether the driver's library was found."""

    reason: str
    remedy: str
    driver: bool = True


def find_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> tuple[tuple[Gpu, ...], NoGpu | None]:
    """Return the GPUs, or the reason why there is none."""
    try:
        cuda = load(LIBRARY)
    except OSError:
        return (), NoGpu(
            f"no NVIDIA driver ({LIBRARY} is not found)",
            f"install the driver of this machine's GPU, {_ELSEWHERE}",
            driver=False,
        )
    status = cuda.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = cuda.cuDeviceGetCount(ctypes.byref(count))
    if status == _NO_DEVICE or (status == 0 and not count.value):
        return (), NoGpu("the NVIDIA driver shows no GPU to this process", _make_visible())
    if status != 0:
        return (), NoGpu(
            f"the NVIDIA driver does not start (CUDA error {status})",
            "check the output of nvidia-smi; after an update of the driver, restart the machine",
        )
    return tuple(_gpu(cuda, index) for index in range(count.value)), None


def _make_visible() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _ELSEWHERE if visible is None else f"unset CUDA_VISIBLE_DEVICES (now {visible!r}), {_ELSEWHERE}"


def _gpu(cuda: Any, index: int) -> Gpu:
    device, version = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        numbers.append(number.value)
    return Gpu(
        name.value.decode(errors="replace"),
        f"sm{numbers[0]}{numbers[1]}",
        _release(),
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _release(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[0] if found else ""

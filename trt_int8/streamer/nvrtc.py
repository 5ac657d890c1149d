"""Compile CUDA C to PTX with NVRTC, through ctypes. This needs no nvcc, no CUDA toolkit and no GPU.

The library comes from the ``nvidia-cuda-nvrtc-cu12`` wheel, or from an installed CUDA toolkit.
API: https://docs.nvidia.com/cuda/nvrtc/
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from trt_int8.errors import CalibrationError, MissingDependencyError

#: Wheel folders and library names, CUDA 12 before 13.
_FOLDERS = ("nvidia.cuda_nvrtc", "nvidia.cu13")
_NAMES = ("libnvrtc.so.12", "libnvrtc.so.13", "nvrtc64_120_0.dll", "nvrtc64_130_0.dll")


def compile_ptx(source: str, *, compute_capability: tuple[int, int], name: str = "kernel.cu") -> bytes:
    """Compile ``source`` for ``compute_capability``, or for the newest older one that this NVRTC knows.

    When it is loaded, the driver compiles PTX of an older architecture for the GPU.

    Returns:
        PTX text with its final zero byte, as ``cuModuleLoadData`` needs it.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        CalibrationError: the source does not compile; has the compiler's log.
    """
    library = _load()
    target = _target(library, compute_capability)
    options = (ctypes.c_char_p * 2)(f"--gpu-architecture=compute_{target}".encode(), b"--fmad=false")
    program, none = ctypes.c_void_p(), ctypes.c_int(0)
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), name.encode(), none, None, None
    )
    _check(library, created)
    try:
        status = library.nvrtcCompileProgram(program, ctypes.c_int(len(options)), options)
        if status != 0:
            log = _text(library, "ProgramLog", program).rstrip(b"\0").decode(errors="replace")
            raise CalibrationError(
                f"NVRTC cannot compile {name} for compute_{target}: {' '.join(log.split())}"
            )
        return _text(library, "PTX", program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _target(library: ctypes.CDLL, compute_capability: tuple[int, int]) -> int:
    count = ctypes.c_int()
    _check(library, library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    supported = (ctypes.c_int * count.value)()
    _check(library, library.nvrtcGetSupportedArchs(supported))
    wanted = compute_capability[0] * 10 + compute_capability[1]
    possible = [architecture for architecture in supported if architecture <= wanted]
    if not possible:
        raise CalibrationError(
            f"this NVRTC supports compute capability {min(supported) / 10} and newer, but the GPU has "
            f"{wanted / 10}: install an older nvidia-cuda-nvrtc"
        )
    return max(possible)


def _text(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CalibrationError(f"NVRTC: {library.nvrtcGetErrorString(status).decode()}")


def _load() -> ctypes.CDLL:
    for candidate in _candidates():
        try:
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    raise MissingDependencyError(
        "normalizing uint8 batches on the GPU needs NVRTC, which is not installed: "
        "pip install nvidia-cuda-nvrtc-cu12"
    )


def _candidates() -> Iterator[str]:
    for folder in _FOLDERS:
        try:
            found = importlib.util.find_spec(folder)
        except ModuleNotFoundError:
            continue
        for location in (found.submodule_search_locations or ()) if found else ():
            for name in _NAMES:
                yield from (str(path) for path in sorted(Path(location).glob(f"*/{name}")))
    yield from _NAMES

"""The stand-in's own functions, called from inside the process that runs on it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

OUT_OF_MEMORY = 2
ILLEGAL_ADDRESS = 700

#: What must be the same after a test as before it.
LASTING = (
    "device allocations",
    "device bytes",
    "pinned allocations",
    "pinned bytes",
    "streams",
    "events",
    "modules",
    "primary context",
    "stack depth",
    "pushes minus pops",
)


class Control:
    """Counters, the log of calls, failures on demand, and the kernels' CPU versions."""

    _kernels: ctypes.CDLL | None = None

    def __init__(self) -> None:
        folder = Path(os.environ["TRT_INT8_STANDIN"])
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.standin_count.restype = ctypes.c_longlong
        self._library.standin_log.restype = ctypes.c_void_p
        self._library.standin_free.argtypes = (ctypes.c_void_p,)
        if Control._kernels is None:
            Control._kernels = ctypes.CDLL(str(folder / "host_kernels.so"))
            self._library.standin_kernel(b"normalize", Control._kernels.run_normalize)

    def count(self, what: str) -> int:
        """A counter by its name in libcuda.c."""
        value = int(self._library.standin_count(what.encode()))
        assert value >= 0 or what == "pushes minus pops", f"no counter {what!r}"
        return value

    def alive(self) -> dict[str, int]:
        """Everything that a test must leave as it was."""
        return {what: self.count(what) for what in LASTING}

    def log(self) -> list[str]:
        """The calls so far, one line each, with the marks between them."""
        text = self._library.standin_log()
        try:
            return (ctypes.string_at(text) or b"").decode().splitlines()
        finally:
            self._library.standin_free(text)

    def mark(self, line: str) -> None:
        """Write a line into the log."""
        self._library.standin_mark(line.encode())

    def fail(self, function: str, *, code: int, skip: int = 0, times: int = 1_000_000) -> None:
        """Let calls of an exported function fail with a CUresult, after ``skip`` good ones."""
        self._library.standin_fail(function.encode(), skip, times, code)

    def fail_no_more(self) -> None:
        """Forget the failures asked for."""
        self._library.standin_fail_no_more()

    @staticmethod
    def read(pointer: int, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
        """A copy of device memory as it is now, whatever is still pending."""
        result = np.empty(shape, dtype)
        ctypes.memmove(result.ctypes.data, pointer, result.nbytes)
        return result

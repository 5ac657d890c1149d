"""Load the CUDA driver with pycuda, and hold the primary context."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from trt_int8.dependencies import install_command, require
from trt_int8.errors import CalibrationError, MissingDependencyError
from trt_int8.streamer.gpu import LIBRARY, find_gpus


def load_driver(*, purpose: str = "streaming batches to the GPU") -> Any:
    """Import and initialize ``pycuda.driver``.

    Raises:
        MissingDependencyError: pycuda or the NVIDIA driver is not installed; names a missing GPU too.
        CalibrationError: the driver finds no usable GPU; says what helps.
    """
    try:
        driver = require("pycuda.driver", purpose=purpose)
    except MissingDependencyError as error:
        # Without a GPU, installing pycuda does not help.
        _, problem = find_gpus()
        if problem is None:
            raise
        missing = isinstance(error.__cause__, ModuleNotFoundError)
        raise MissingDependencyError(
            f"{purpose} needs a GPU: {problem.reason}; {problem.remedy}"
            + (f". pycuda is not installed either: {install_command('pycuda.driver')}" if missing else "")
        ) from error
    try:
        with cuda_errors(driver, "CUDA cannot be initialized"):
            driver.init()
    except CalibrationError as error:
        _, problem = find_gpus()
        if problem is None:
            raise
        raise CalibrationError(f"{error}; {problem.remedy}") from error.__cause__
    return driver


class cuda_errors:
    """Turn pycuda's errors in a ``with`` block into ``CalibrationError("<doing>: <pycuda's message>")``.

    pycuda's own frames are dropped: their variables would keep objects alive that must be destroyed while the
    context is current. (A generator with ``contextmanager`` would keep the frames.)
    """

    def __init__(self, driver: Any, doing: str) -> None:
        self._driver = driver
        self._doing = doing

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise a `CalibrationError` for an error of pycuda."""
        del traceback
        if error is not None and isinstance(error, self._driver.Error):
            raise CalibrationError(f"{self._doing}: {error}") from error.with_traceback(None)


def cuda_library() -> ctypes.CDLL:
    """Return the driver's library, which pycuda has loaded, for calls that pycuda does not have."""
    return ctypes.CDLL(LIBRARY)


class PrimaryContext:
    """The context that TensorRT and all other users of CUDA's runtime share on a device.

    TensorRT cannot read memory of another context, such as that of ``pycuda.autoinit``.
    """

    def __init__(self, driver: Any, ordinal: int) -> None:
        self._driver = driver
        with cuda_errors(driver, f"cannot use GPU {ordinal}"):
            self._context = driver.Device(ordinal).retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it the calling thread's context in the block; restore the previous context afterwards."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def release(self) -> None:
        """Release it. Call this once, from any thread, after all objects of the context are freed."""
        context, self._context = self._context, None
        # pycuda's detach() expects the driver to pop the context. The driver does so for contexts that
        # pycuda created, but not for a primary one. So pop it from the driver's stack, then detach.
        context.push()
        cuda_library().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        context.detach()

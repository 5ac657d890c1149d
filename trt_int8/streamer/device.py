"""What a calibrator asks of the memory that TensorRT reads its batches from, and memory of the host.

Calibrators run on `HostDevice` where there is no CUDA.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import CalibrationError, DataError


class BatchStream(Protocol):
    """Batches in the order of the iterable, each in memory that the builder can read.

    One consumer, one thread: `next` until it returns None or raises, then `close`.
    """

    @property
    def batch_size(self) -> int | None:
        """First axis of the first batch; None until a batch is staged, known once `next` has returned one."""

    def next(self) -> Mapping[str, int] | None:
        """Addresses of the next batch, one per input name, valid until the next call.

        All bytes have arrived when this returns. None at the end of the data, and from then on.

        Raises:
            BaseException: whatever the iterable or the device raised, KeyboardInterrupt included, with
                its own traceback; the stream is then at its end.
        """

    def close(self) -> None:
        """Free every buffer and end the reading of the iterable. Idempotent."""


class Device(Protocol):
    """A place that batches can be streamed to."""

    def stream(self, batches: Iterable[Mapping[str, Any]]) -> BatchStream:
        """Start streaming ``batches``: ``{input name: array}``, the same names, shapes and dtypes in each.

        Raises:
            DataError: from here or from `BatchStream.next`, for an array that cannot be streamed.
        """


@runtime_checkable
class ConvertingDevice(Device, Protocol):
    """A device that turns some inputs into what the model takes, on the way: uint8 images into float32.

    If it has a method ``on_host``, which makes the same of a batch on the CPU, accuracy can be measured too.
    """

    @property
    def conversion(self) -> str:
        """What it does to the values, exactly, since scales depend on it; empty for nothing."""

    def staged(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype in which a batch of input ``name`` reaches the builder.

        Raises:
            DataError: the device cannot convert it.
        """


class HostDevice:
    """Stages batches in host memory. TensorRT itself cannot read it; tests and fakes of the builder can."""

    def stream(self, batches: Iterable[Mapping[str, Any]]) -> HostStream:
        """See `trt_int8.streamer.device.Device.stream`."""
        return HostStream(batches)


class HostStream:
    """One buffer per input, overwritten by each batch, as a device's would be."""

    def __init__(self, batches: Iterable[Mapping[str, Any]]) -> None:
        self._batches = iter(batches)
        self._buffers: dict[str, NDArray[Any]] = {}
        self._staged = 0
        self._ended = False
        self._closed = False

    @property
    def batch_size(self) -> int | None:
        """First axis of the first batch; None until it is staged."""
        for buffer in self._buffers.values():
            return int(buffer.shape[0])
        return None

    def next(self) -> Mapping[str, int] | None:
        """Addresses in host memory per input name, valid until the next call; None at the end.

        Raises:
            DataError: a batch has other names, shapes or dtypes than the first one.
            CalibrationError: the stream is closed.
        """
        if self._closed:
            raise CalibrationError("the batch stream is closed; start a new one")
        if self._ended:
            return None
        self._ended = True  # stays so when the loader ends or raises
        try:
            batch = next(self._batches)
        except StopIteration:
            return None
        self._stage({name: np.asarray(value) for name, value in batch.items()})
        self._staged += 1
        self._ended = False
        return {name: buffer.ctypes.data for name, buffer in self._buffers.items()}

    def close(self) -> None:
        """Free the buffers and end the loader, where it can be ended."""
        self._closed = True
        self._buffers.clear()
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _stage(self, arrays: dict[str, NDArray[Any]]) -> None:
        if not self._buffers:
            for name, array in arrays.items():
                if array.ndim == 0:
                    raise DataError(f"batch 0, input {name}: a scalar has no batch axis")
            self._buffers = {name: np.empty(array.shape, array.dtype) for name, array in arrays.items()}
        if arrays.keys() != self._buffers.keys():
            names = ", ".join(arrays)
            raise DataError(
                f"batch {self._staged}: inputs {names}, where batch 0 has {', '.join(self._buffers)}"
            )
        for name, array in arrays.items():
            buffer = self._buffers[name]
            if (array.shape, array.dtype) != (buffer.shape, buffer.dtype):
                raise DataError(
                    f"batch {self._staged}, input {name}: {array.dtype}{list(array.shape)}, "
                    f"where batch 0 has {buffer.dtype}{list(buffer.shape)}"
                )
            np.copyto(buffer, array)

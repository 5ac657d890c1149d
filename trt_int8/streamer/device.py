"""The interface of devices that calibrators copy batches to, and `HostDevice` for machines without CUDA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import CalibrationError
from trt_int8.streamer.layout import InputLayout, check_batch, layout_of


class BatchStream(Protocol):
    """Batches in the order of the iterable, each in memory that the builder can read.

    For one consumer in one thread: call `next` until it returns None or raises, then `close`.
    """

    @property
    def batch_size(self) -> int | None:
        """First axis of the first batch; known after the first `next`, None before."""

    def next(self) -> Mapping[str, int] | None:
        """Return the addresses of the next batch by input name; valid until the next call.

        All bytes have arrived when this returns. At the end of the data, and after that, it returns None.

        Raises:
            BaseException: what the iterable or the device raised, including KeyboardInterrupt, with its own
                traceback; the stream has then ended.
        """

    def close(self) -> None:
        """Free all buffers and stop reading the iterable. Idempotent."""


class Device(Protocol):
    """A device that batches can be copied to."""

    def stream(self, batches: Iterable[Mapping[str, Any]]) -> BatchStream:
        """Start streaming ``batches``: ``{input name: array}``, the same names, shapes and dtypes in each.

        Raises:
            DataError: from here or from `BatchStream.next`, for an array that cannot be streamed.
        """


@runtime_checkable
class ConvertingDevice(Device, Protocol):
    """A device that converts some inputs for the model, such as uint8 images to float32.

    Accuracy can be measured if it also has a method ``on_host``, which converts a batch on the CPU.
    """

    @property
    def conversion(self) -> str:
        """Exact description of the conversion, since scales depend on it; empty for none."""

    def staged(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of a batch of input ``name`` after the conversion.

        Raises:
            DataError: the device cannot convert it.
        """


class HostDevice:
    """Copies batches to buffers in host memory, which mocks of TensorRT's builder can read."""

    def stream(self, batches: Iterable[Mapping[str, Any]]) -> HostStream:
        return HostStream(batches)


class HostStream:
    """One buffer per input; each batch overwrites it."""

    def __init__(self, batches: Iterable[Mapping[str, Any]]) -> None:
        self._batches = iter(batches)
        self._buffers: dict[str, NDArray[Any]] = {}
        self._layouts: dict[str, InputLayout] = {}
        self._staged = 0
        self._ended = self._closed = False

    @property
    def batch_size(self) -> int | None:
        return next((layout.shape[0] for layout in self._layouts.values()), None)

    def next(self) -> Mapping[str, int] | None:
        if self._closed:
            raise CalibrationError("the batch stream is closed; start a new one")
        if self._ended:
            return None
        self._ended = True  # stays so when the loader ends or raises
        try:
            batch = next(self._batches)
        except StopIteration:
            return None
        arrays = {name: np.asarray(value) for name, value in batch.items()}
        if not self._layouts:
            self._layouts = layout_of(arrays)
            self._buffers = {name: np.empty(array.shape, array.dtype) for name, array in arrays.items()}
        check_batch(self._staged, arrays, self._layouts)
        for name, array in arrays.items():
            np.copyto(self._buffers[name], array)
        self._staged += 1
        self._ended = False
        return {name: buffer.ctypes.data for name, buffer in self._buffers.items()}

    def close(self) -> None:
        self._closed = True
        self._buffers.clear()
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

"""A device whose memory is the host's: calibrators run on it where there is no CUDA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import CalibrationError, DataError


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

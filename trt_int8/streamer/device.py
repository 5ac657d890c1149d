"""What a calibrator asks of the memory that TensorRT reads its batches from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable


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

"""The buffers of a stream: per input one in pinned host memory and one on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trt_int8.streamer.layout import InputLayout
from trt_int8.streamer.normalize import Normalize, NormalizeKernel
from trt_int8.streamer.passthrough import DeviceArray

#: cudaStreamNonBlocking: do not wait for the default stream, on which the consumer may work.
_NON_BLOCKING = 1


@dataclass(frozen=True)
class InputRoute:
    """The layout of one input, its normalization if it has one, and its normalized shape, N C H W."""

    layout: InputLayout
    normalize: Normalize | None = None
    normalized: tuple[int, int, int, int] | None = None

    @property
    def copied_bytes(self) -> int:
        """Bytes of a batch that are copied to the GPU; 0 for an input that is already there."""
        return 0 if self.layout.on_device else self.layout.nbytes

    @property
    def normalized_bytes(self) -> int:
        """Bytes of the normalized float32 batch."""
        return 0 if self.normalized is None else 4 * int(np.prod(self.normalized, dtype=np.int64))


@dataclass(frozen=True)
class StreamMemory:
    """Memory that a stream allocates, in bytes: on the GPU, and pinned on the host."""

    device: int
    pinned: int

    def __str__(self) -> str:
        return (
            f"{self.device / 2**20:.1f} MiB on the GPU and {self.pinned / 2**20:.1f} MiB pinned on the host"
        )


def required_memory(routes: Mapping[str, InputRoute], slots: int) -> StreamMemory:
    """Return the memory for ``slots`` batches in flight."""
    copied = sum(route.copied_bytes for route in routes.values())
    normalized = sum(route.normalized_bytes for route in routes.values())
    return StreamMemory(device=slots * (copied + normalized), pinned=slots * copied)


class CopyQueue:
    """Our own CUDA stream.

    pycuda destroys a stream or an event with its last reference, and its context must be current then. So
    they are only in attributes, never in a variable that a traceback could keep.
    """

    def __init__(self, driver: Any) -> None:
        self.stream = driver.Stream(_NON_BLOCKING)

    def close(self) -> None:
        """Destroy the stream."""
        self.stream = None


class Buffers:
    """The buffers of one input of one batch."""

    def __init__(self, driver: Any, route: InputRoute) -> None:
        self._route, self._driver = route, driver
        self._host: NDArray[Any] | None = None
        self._device: Any = None
        self._normalized: Any = None

    def allocate(self) -> None:
        """Allocate the memory; after a failure, call `free`."""
        if self._route.copied_bytes:
            self._host = self._driver.pagelocked_empty(self._route.copied_bytes, np.uint8)
            self._device = self._driver.mem_alloc(self._route.copied_bytes)
        if self._route.normalized_bytes:
            self._normalized = self._driver.mem_alloc(self._route.normalized_bytes)

    def send(
        self, array: NDArray[Any] | DeviceArray, queue: CopyQueue, kernel: NormalizeKernel | None
    ) -> int:
        """Queue the copy of ``array`` to the GPU and its normalization; return its address there."""
        if isinstance(array, DeviceArray):
            pointer = array.pointer
        else:
            assert self._host is not None
            # Only pinned memory is copied asynchronously. This handles any strides and byte order.
            np.copyto(self._host.view(array.dtype.newbyteorder("=")).reshape(array.shape), array)
            self._driver.memcpy_htod_async(self._device, self._host, queue.stream)
            pointer = int(self._device)
        normalize, shape = self._route.normalize, self._route.normalized
        if normalize is None or shape is None or kernel is None:
            return pointer
        kernel.launch(normalize, shape, pointer, int(self._normalized), queue)
        return int(self._normalized)

    def free(self) -> None:
        """Free the memory."""
        if self._host is not None:
            base, self._host = self._host.base, None
            base.free()  # type: ignore[union-attr]  # pycuda is untyped
        for name in ("_device", "_normalized"):
            allocation = getattr(self, name)
            setattr(self, name, None)
            if allocation is not None:
                allocation.free()


class Slot:
    """One batch in flight: its buffers, the event after its last copy, and the arrays it borrows."""

    def __init__(self, driver: Any, routes: Mapping[str, InputRoute]) -> None:
        self.pointers: dict[str, int] = {}
        self._driver = driver
        self._buffers = {name: Buffers(driver, route) for name, route in routes.items()}
        self._borrowed: list[DeviceArray] = []
        self._arrived: Any = None

    @property
    def borrows(self) -> bool:
        """Whether the batch is in GPU memory of the loader."""
        return bool(self._borrowed)

    def allocate(self) -> None:
        """Allocate the memory and make the event."""
        flags = self._driver.event_flags
        # A blocking wait leaves the CPU to the loader.
        self._arrived = self._driver.Event(flags.DISABLE_TIMING | flags.BLOCKING_SYNC)
        for buffers in self._buffers.values():
            buffers.allocate()

    def send(
        self,
        arrays: Mapping[str, NDArray[Any] | DeviceArray],
        queue: CopyQueue,
        kernel: NormalizeKernel | None,
    ) -> None:
        """Queue the batch's copies and then its event."""
        self._borrowed = [array for array in arrays.values() if isinstance(array, DeviceArray)]
        self.pointers = {
            name: self._buffers[name].send(array, queue, kernel) for name, array in arrays.items()
        }
        self._arrived.record(queue.stream)

    def wait(self) -> None:
        """Wait until the batch has arrived."""
        self._arrived.synchronize()

    def give_back(self) -> None:
        """Release the loader's arrays, after the consumer has finished with the batch."""
        self._borrowed = []

    def free(self) -> None:
        """Free the memory and the event."""
        self._borrowed = []
        self._arrived = None
        for buffers in self._buffers.values():
            buffers.free()

"""The memory that batches pass through: per input a pinned buffer on the host and one on the GPU."""

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
    """How one input gets to the GPU: its layout, and its normalization where there is one."""

    layout: InputLayout
    normalize: Normalize | None = None
    #: N C H W of the normalized batch
    normalized: tuple[int, int, int, int] | None = None

    @property
    def copied_bytes(self) -> int:
        """Bytes of a batch that cross the bus: none for an input that is on the GPU already."""
        return 0 if self.layout.on_device else self.layout.nbytes

    @property
    def normalized_bytes(self) -> int:
        """Bytes of the normalized float32 batch."""
        return 0 if self.normalized is None else 4 * int(np.prod(self.normalized, dtype=np.int64))


@dataclass(frozen=True)
class StreamMemory:
    """What a stream allocates, in bytes.

    Attributes:
        device: on the GPU.
        pinned: page-locked memory of the host.
    """

    device: int
    pinned: int

    def __str__(self) -> str:
        return (
            f"{self.device / 2**20:.1f} MiB on the GPU and {self.pinned / 2**20:.1f} MiB pinned on the host"
        )


def required_memory(routes: Mapping[str, InputRoute], slots: int) -> StreamMemory:
    """What ``slots`` batches on their way need."""
    copied = sum(route.copied_bytes for route in routes.values())
    normalized = sum(route.normalized_bytes for route in routes.values())
    return StreamMemory(device=slots * (copied + normalized), pinned=slots * copied)


class CopyQueue:
    """A CUDA stream of our own.

    pycuda destroys a stream or an event when the last reference goes, which must happen while its context
    is current. So they live in attributes alone, never in a variable that a traceback could keep.
    """

    def __init__(self, driver: Any) -> None:
        self.stream = driver.Stream(_NON_BLOCKING)

    def close(self) -> None:
        """Destroy the stream."""
        self.stream = None


class Buffers:
    """The buffers of one input of one batch."""

    def __init__(self, driver: Any, route: InputRoute) -> None:
        self.route = route
        self._host: NDArray[Any] | None = None
        self._device: Any = None
        self._normalized: Any = None
        self._driver = driver

    def allocate(self) -> None:
        """Take the memory; what was taken before a failure stays until `free`."""
        if self.route.copied_bytes:
            self._host = self._driver.pagelocked_empty(self.route.copied_bytes, np.uint8)
            self._device = self._driver.mem_alloc(self.route.copied_bytes)
        if self.route.normalized_bytes:
            self._normalized = self._driver.mem_alloc(self.route.normalized_bytes)

    def send(
        self, array: NDArray[Any] | DeviceArray, queue: CopyQueue, kernel: NormalizeKernel | None
    ) -> int:
        """Queue what brings ``array`` to the GPU; returns the address where it will be."""
        if isinstance(array, DeviceArray):
            pointer = array.pointer
        else:
            assert self._host is not None
            # Through pinned memory, which alone is copied asynchronously; any strides or byte order.
            np.copyto(self._host.view(array.dtype.newbyteorder("=")).reshape(array.shape), array)
            self._driver.memcpy_htod_async(self._device, self._host, queue.stream)
            pointer = int(self._device)
        if self.route.normalize is None or self.route.normalized is None or kernel is None:
            return pointer
        planes = int(self._normalized)
        kernel.launch(self.route.normalize, self.route.normalized, pointer, planes, queue)
        return planes

    def free(self) -> None:
        """Free what `allocate` took."""
        if self._host is not None:
            base, self._host = self._host.base, None
            base.free()  # type: ignore[union-attr]  # pycuda is untyped
        for name in ("_device", "_normalized"):
            allocation = getattr(self, name)
            setattr(self, name, None)
            if allocation is not None:
                allocation.free()


class Slot:
    """One batch on its way: its buffers, the event behind its last copy, and the arrays it borrows."""

    def __init__(self, driver: Any, routes: Mapping[str, InputRoute]) -> None:
        self.pointers: dict[str, int] = {}
        self._driver = driver
        self._buffers = {name: Buffers(driver, route) for name, route in routes.items()}
        self._borrowed: list[DeviceArray] = []
        self._arrived: Any = None

    @property
    def borrows(self) -> bool:
        """Whether the batch lies in GPU memory of the loader's."""
        return bool(self._borrowed)

    def allocate(self) -> None:
        """Take the memory and make the event."""
        flags = self._driver.event_flags
        # A blocking wait leaves the processor to the loader.
        self._arrived = self._driver.Event(flags.DISABLE_TIMING | flags.BLOCKING_SYNC)
        for buffers in self._buffers.values():
            buffers.allocate()

    def send(
        self,
        arrays: Mapping[str, NDArray[Any] | DeviceArray],
        queue: CopyQueue,
        kernel: NormalizeKernel | None,
    ) -> None:
        """Queue the batch's copies and, behind them, its event."""
        self._borrowed = [array for array in arrays.values() if isinstance(array, DeviceArray)]
        self.pointers = {
            name: self._buffers[name].send(array, queue, kernel) for name, array in arrays.items()
        }
        self._arrived.record(queue.stream)

    def wait(self) -> None:
        """Wait until the batch has arrived."""
        self._arrived.synchronize()

    def give_back(self) -> None:
        """Let go of the loader's arrays, once the consumer is done with the batch."""
        self._borrowed = []

    def free(self) -> None:
        """Free the memory and the event."""
        self._borrowed = []
        self._arrived = None
        for buffers in self._buffers.values():
            buffers.free()

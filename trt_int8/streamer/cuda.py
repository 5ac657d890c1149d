"""Load batches ahead and copy them asynchronously to the GPU, in the context that TensorRT uses."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import CalibrationError, DataError
from trt_int8.streamer.context import PrimaryContext, cuda_errors, cuda_library, load_driver
from trt_int8.streamer.layout import InputLayout, check_batch, layout_of
from trt_int8.streamer.normalize import Normalize, NormalizeKernel
from trt_int8.streamer.passthrough import DeviceArray, device_array
from trt_int8.streamer.reader import ReadAhead
from trt_int8.streamer.ring import CopyQueue, InputRoute, Slot, StreamMemory, required_memory

_LOG = logging.getLogger(__name__)
_POINTER_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL


class CudaDevice:
    """A GPU, as the `trt_int8.streamer.device.Device` that calibrators copy their batches to.

    Args:
        ordinal: number of the GPU.
        slots: number of batches in flight: one in use, the others being copied. Each needs one batch of GPU
            memory and of pinned host memory.
        normalize: input name → conversion of uint8 images to float32 on the GPU; other inputs are copied
            unchanged.

    Raises:
        MissingDependencyError: pycuda or the NVIDIA driver is not installed.
        CalibrationError: CUDA cannot be initialized.
    """

    def __init__(
        self, *, ordinal: int = 0, slots: int = 2, normalize: Mapping[str, Normalize] | None = None
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots is {slots}; it must be at least 1")
        self._driver = load_driver()
        self._ordinal = ordinal
        self._slots = slots
        self._normalize = dict(normalize or {})

    @property
    def conversion(self) -> str:
        return "; ".join(f"{name}: {normalize}" for name, normalize in sorted(self._normalize.items()))

    def staged(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[tuple[int, ...], str]:
        if name not in self._normalize:
            return shape, dtype
        return self._normalize[name].output_shape(shape, dtype, f"batch 0, input {name}"), "float32"

    def on_host(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Convert ``batch`` on the CPU, bit for bit as on the GPU.

        Raises:
            DataError: an array is not a batch of images that can be normalized.
        """
        kinds = self._normalize
        return {name: kinds[name].on_host(a) if name in kinds else a for name, a in batch.items()}

    def stream(self, batches: Iterable[Mapping[str, Any]]) -> CudaStream:
        """Start reading ``batches`` in a separate thread.

        Arrays on the host (anything that ``numpy.asarray`` accepts) are copied. An array on the GPU (with
        ``__dlpack__`` or ``__cuda_array_interface__``) is used without a copy. In this case the next batch is
        loaded after the consumer has finished with it, so the loader may reuse its memory.
        """
        return CudaStream(
            batches, self._driver, ordinal=self._ordinal, slots=self._slots, normalize=self._normalize
        )


class CudaStream:
    """A `trt_int8.streamer.device.BatchStream`. Memory is freed at the end, on an error, and by `close`.

    Attributes:
        memory: memory that the open stream uses; None before the first batch. Also logged.
    """

    def __init__(
        self,
        batches: Iterable[Mapping[str, Any]],
        driver: Any,
        *,
        ordinal: int,
        slots: int,
        normalize: Mapping[str, Normalize],
    ) -> None:
        self.memory: StreamMemory | None = None
        self._driver, self._ordinal, self._normalize = driver, ordinal, normalize
        self._slot_count = slots
        self._layouts: dict[str, InputLayout] = {}
        self._slots: list[Slot] = []
        self._kernel: NormalizeKernel | None = None
        self._current: Slot | None = None
        self._ended = self._freed = self._closed = False
        items = iter(batches)
        self._context = PrimaryContext(driver, ordinal)
        try:
            with self._context.current(), cuda_errors(driver, "cannot make a CUDA stream"):
                self._queue = CopyQueue(driver)
        except BaseException:
            self._context.release()
            raise
        self._reader: ReadAhead[Mapping[str, Any], Slot] = ReadAhead(
            items, self._stage, borrows=lambda slot: slot.borrows, ahead=slots
        )
        # The reader must not be inside CUDA when the interpreter exits.
        atexit.register(self.close)

    @property
    def batch_size(self) -> int | None:
        return next((layout.shape[0] for layout in self._layouts.values()), None)

    def next(self) -> Mapping[str, int] | None:
        if self._closed:
            raise CalibrationError("the batch stream is closed; start a new one")
        if self._ended:
            return None
        try:
            self._finish_current()
            slot = self._reader.next()
            if slot is None:
                self._end()
                return None
            with self._context.current(), cuda_errors(self._driver, "copying a batch to the GPU failed"):
                slot.wait()
            self._current = slot
            return dict(slot.pointers)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Free all memory and stop reading. Idempotent; call it from any thread except the reader's."""
        self._closed = True
        self._end()

    def _finish_current(self) -> None:
        """Wait for the consumer's work on the batch, before its memory is overwritten or returned."""
        if self._current is None:
            return
        with self._context.current(), cuda_errors(self._driver, "the work on a calibration batch failed"):
            self._driver.Context.synchronize()
            self._current.give_back()
        self._current = None

    def _stage(self, index: int, batch: Mapping[str, Any]) -> Slot:
        """Check a batch and queue its copies; runs in the reader's thread."""
        with self._context.current():
            arrays = {name: self._array(index, name, value) for name, value in batch.items()}
            if index == 0:
                self._allocate(arrays)
            check_batch(index, arrays, self._layouts)
            slot = self._slots[index % self._slot_count]
            with cuda_errors(self._driver, f"cannot send batch {index} to the GPU"):
                if any(isinstance(array, DeviceArray) and not array.ordered for array in arrays.values()):
                    self._driver.Context.synchronize()
                slot.send(arrays, self._queue, self._kernel)
            return slot

    def _array(self, index: int, name: str, value: Any) -> NDArray[Any] | DeviceArray:
        place, stream = f"batch {index}, input {name}", self._queue.stream.handle
        found = device_array(value, place=place, ordinal=self._ordinal, stream=stream, device_of=_device_of)
        return np.asarray(value) if found is None else found

    def _allocate(self, arrays: Mapping[str, NDArray[Any] | DeviceArray]) -> None:
        layouts = layout_of(arrays)
        unknown = self._normalize.keys() - layouts.keys()
        if unknown:
            raise DataError(
                f"normalize= has {', '.join(sorted(unknown))}, which is not an input of batch 0; its inputs "
                f"are {', '.join(layouts)}"
            )
        routes = {name: _route(name, layout, self._normalize.get(name)) for name, layout in layouts.items()}
        memory = required_memory(routes, self._slot_count)
        _LOG.info("streaming batches of %s takes %s", next(iter(layouts.values())).shape[0], memory)
        with cuda_errors(self._driver, f"cannot allocate {memory} for {self._slot_count} batches"):
            free, _ = self._driver.mem_get_info()
            if memory.device > free:
                raise CalibrationError(
                    f"streaming needs {memory}, but the GPU has only {free / 2**20:.1f} MiB free: "
                    "use a smaller batch size"
                )
            for _ in range(self._slot_count):
                self._slots.append(Slot(self._driver, routes))
                self._slots[-1].allocate()
        if self._normalize:
            self._kernel = NormalizeKernel(self._driver, self._ordinal)
        self.memory, self._layouts = memory, layouts

    def _end(self) -> None:
        self._ended = True
        if self._freed:
            return
        self._freed = True
        atexit.unregister(self.close)
        self._reader.close()
        self._current = None
        with self._context.current():
            # Copies in flight still read the pinned buffers. A broken device has no copies in flight.
            with contextlib.suppress(self._driver.Error):
                self._queue.stream.synchronize()
            for slot in self._slots:
                slot.free()
            if self._kernel is not None:
                self._kernel.close()
            self._queue.close()
        self._context.release()


def _route(name: str, layout: InputLayout, normalize: Normalize | None) -> InputRoute:
    if normalize is None:
        return InputRoute(layout)
    shape = normalize.output_shape(layout.shape, layout.dtype, f"batch 0, input {name}")
    return InputRoute(layout, normalize, shape)


def _device_of(pointer: int) -> int | None:
    ordinal = ctypes.c_int()
    status = cuda_library().cuPointerGetAttribute(
        ctypes.byref(ordinal), _POINTER_DEVICE_ORDINAL, ctypes.c_uint64(pointer)
    )
    return ordinal.value if status == 0 else None

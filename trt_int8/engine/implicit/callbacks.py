"""Callbacks of TensorRT's calibrators that keep errors. This module does not need TensorRT."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, TypeVar

import onnx

from trt_int8.batches.items import Batches
from trt_int8.engine.implicit.feed import Feed
from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.engine.implicit.store import CacheStore
from trt_int8.engine.interrupts import Interrupts
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph import input_specs, load_model
from trt_int8.graph.identity import model_id
from trt_int8.ranges import CalibrationCache
from trt_int8.streamer.device import BatchStream, ConvertingDevice, Device

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """The result of TensorRT's calibration.

    Attributes:
        algorithm: ``EntropyCalibration2`` or ``MinMaxCalibration``.
        source: where the scales came from; ``never called`` if TensorRT asked for neither data nor cache.
        batches: number of batches that TensorRT read.
        batch_size: samples per batch; None if no data was read.
        tensors: number of tensors with a scale.
        cache: the cache file, if one was given.
    """

    algorithm: str
    source: Literal["data", "cache", "never called"]
    batches: int
    batch_size: int | None
    tensors: int
    cache: Path | None

    def explain(self, *, int8: bool | None = None, quantized: bool | None = None) -> str:
        """Return one line for people.

        Args:
            int8: whether the INT8 flag was set; None: not known.
            quantized: whether the network has Q/DQ layers; None: not known.
        """
        if self.source == "cache":
            return (
                f"calibration: {self.tensors} scales from {self.cache}; no data was needed "
                "(delete the file to calibrate again)"
            )
        if self.source == "data":
            kept = f", written to {self.cache}" if self.cache is not None else ""
            return (
                f"calibration: {self.tensors} scales ({self.algorithm}) from {self.batches} batches "
                f"of {self.batch_size}{kept}"
            )
        return f"the calibrator was never called: {_why_never_called(int8, quantized)}"


class CalibratorCallbacks:
    """The callbacks of ``IInt8Calibrator``, for a subclass that also derives from TensorRT's class.

    If a callback raises an exception, TensorRT prints it and treats it as the end of the data. So this class
    keeps the first exception (from the loader, CUDA, the disk, Ctrl-C), ends calibration and writes no cache.
    `raise_if_failed` raises the exception after the build.

    Args:
        batches: ``{input name: array}``, all of one batch size: numpy arrays or what ``numpy.asarray``
            accepts, or arrays on the device. With ``model`` also tuples and arrays (see
            `trt_int8.batches.items.as_batch`). Read once, and only if there is no cache to use.
        cache: file of the calibration cache. It is used if it exists and its fingerprint fits (see
            `trt_int8.engine.implicit.fingerprint`). If it does not exist, it is written after calibration.
        device: device that the batches are copied to; None: the CUDA device.
        model: the ONNX model, to check batches and cache against; None: no such checks.
        data: a name for the data, such as "my dataset v2", to check the cache against. None: a hash of the
            samples is used, so checking a cache reads all samples.
        reuse_cache: use the cache without these checks.

    Raises:
        OutputError: the cache does not exist and cannot be written.
    """

    #: As in the header of the cache.
    algorithm: ClassVar[str]
    #: Version of TensorRT.
    tensorrt: ClassVar[str | None] = None

    def __init__(
        self,
        batches: Batches,
        *,
        cache: str | os.PathLike[str] | None = None,
        device: Device | None = None,
        model: onnx.ModelProto | str | os.PathLike[str] | None = None,
        data: str | None = None,
        reuse_cache: bool = False,
    ) -> None:
        super().__init__()  # TensorRT's class, if the subclass has it, must be initialized
        specs = None if model is None else input_specs(load_model(model))
        self.store = None if cache is None else CacheStore(cache, reuse=reuse_cache)
        if self.store is not None:
            self.store.check_place()
        self.interrupts = Interrupts()
        #: Names of the network's tensors, once a builder knows them; part of the fingerprint.
        self.tensors: tuple[str, ...] | None = None
        converting = device if isinstance(device, ConvertingDevice) else None
        staged = None if converting is None else converting.staged
        self._conversion = "" if converting is None else converting.conversion
        self._feed = Feed(batches, specs=specs, staged=staged, loading=self.interrupts.loading)
        self._device = device
        self._model = None if model is None else model_id(model)
        self._data = data
        self._stream: BatchStream | None = None
        self._failure: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._result: bytes | None = None  # TensorRT reads it in place: it must outlive the callback
        #: What the scales were made from; None before they are known, and for a cache without fingerprint.
        self.fingerprint: Fingerprint | None = None
        self._from_cache = self._ended = False
        self._batches = 0  # read by TensorRT; the device may have read ahead

    # Called by TensorRT

    def get_batch_size(self) -> int:
        """First axis of the batches."""
        return self._guard(lambda: self._feed.batch_size, otherwise=1)

    def get_batch(self, names: Sequence[str]) -> list[int] | None:
        """Return the device pointers of the next batch, in the order of ``names``; None at the end."""
        return self._guard(lambda: self._next(names), otherwise=None)

    def read_calibration_cache(self) -> bytes | None:
        """Return the cache, if there is one that fits."""
        return self._guard(self._read, otherwise=None)

    def write_calibration_cache(self, cache: memoryview) -> None:
        """Keep the result of a complete calibration."""
        return self._guard(lambda: self._write(cache), otherwise=None)

    # Called by the user of the builder

    @property
    def failed(self) -> bool:
        """Whether an error is waiting to be raised."""
        return self._failure is not None or self.interrupts.pending

    def raise_if_failed(self) -> None:
        """Raise what a callback raised, with its traceback. Call this after the build.

        Raises:
            CalibrationError: also if calibration stopped before the end of the data.
            BaseException: what the loader or the device raised; KeyboardInterrupt for Ctrl-C.
        """
        self._guard(self.close, otherwise=None)
        if self._failure is not None:
            raise self._failure.with_traceback(self._traceback)
        if self._batches and not self._ended:
            raise CalibrationError(
                f"TensorRT stopped calibration after {self._batches} batches, before the end of the data; "
                "either the build failed (see its log) or a signal interrupted it; no cache was written"
            )

    def summary(self) -> CalibrationSummary:
        """Return the result so far."""
        scales = self.scales()
        return CalibrationSummary(
            algorithm=self.algorithm,
            source="cache" if self._from_cache else "data" if self._batches else "never called",
            batches=self._batches,
            batch_size=self._feed.batch_size if self._batches else None,
            tensors=0 if scales is None else len(scales.scales),
            cache=None if self.store is None else self.store.path,
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input at TensorRT; reads the first batch."""
        return self._feed.shapes

    def scales(self) -> CalibrationCache | None:
        """Return the scales of the calibration or the cache; None before they are known."""
        return None if self._result is None else _parse(self._result)

    def close(self) -> None:
        """Free the device memory. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _guard(self, action: Callable[[], T], *, otherwise: T) -> T:
        if self._failure is not None:
            return otherwise
        try:
            with self.interrupts.callback():
                return action()
        except BaseException as error:
            self._failure, self._traceback = error, error.__traceback__
        try:
            self.close()
        except BaseException as error:
            # The user needs to see the first error.
            self._failure.__context__ = error
        return otherwise

    def _next(self, names: Sequence[str]) -> list[int] | None:
        if self._ended:
            raise CalibrationError("the data was already read to its end; make a new calibrator per build")
        if self._from_cache and self.store is not None:
            # The data may have been read to check the cache, and calibrating would replace the cache.
            raise CalibrationError(
                f"TensorRT rejected the calibration cache {self.store.path} (see its log) and asks for data; "
                "delete the cache to calibrate again, or choose another file"
            )
        if self._stream is None:
            if self._device is None:
                from trt_int8.streamer.cuda import CudaDevice

                self._device = CudaDevice()
            self._stream = self._device.stream(self._feed)
        pointers = self._stream.next()
        if pointers is None:
            self._ended = True
            self.close()
            return None
        _check_names(names, pointers, self._batches)
        self._batches += 1
        return [int(pointers[name]) for name in names]

    def _read(self) -> bytes | None:
        if self._result is None and self.store is not None and self.store.exists():
            # Without a sidecar there is no hash to compare with, so the data need not be read.
            known = os.path.exists(self.store.sidecar)
            now = self._current_fingerprint() if known else Fingerprint(algorithm=self.algorithm)
            self._result = self.store.load(now)
            self.fingerprint = self.store.made_from
            self._from_cache = True
        return self._result

    def _write(self, cache: memoryview) -> None:
        if self._from_cache:
            return  # TensorRT did not calibrate
        content = bytes(cache)  # TensorRT owns the memory, and only until this returns
        if not self._ended:
            raise CalibrationError(
                f"calibration was interrupted after {self._batches} batches by an exception (probably "
                "Ctrl-C) that TensorRT caught and printed to stderr; no cache was written"
            )
        _parse(content)
        self._result, self.fingerprint = content, self._current_fingerprint()
        if self.store is not None:
            self.store.save(content, self.fingerprint)

    def _current_fingerprint(self) -> Fingerprint:
        return Fingerprint(
            model=self._model,
            data=self._data if self._data is not None else self._feed.data_id(),
            conversion=self._conversion,
            algorithm=self.algorithm,
            batch_size=self._feed.batch_size,
            tensorrt=self.tensorrt,
            tensors=self.tensors,
        )


def _parse(content: bytes) -> CalibrationCache:
    return CalibrationCache.parse(content.decode("utf-8"), source="TensorRT's calibration cache")


def _check_names(names: Sequence[str], batch: Mapping[str, int], number: int) -> None:
    for name in names:
        if name not in batch:
            near = difflib.get_close_matches(name, list(batch), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"batch {number}: the network's input {name!r} is missing; the batch has "
                f"{', '.join(batch)}{hint}"
            )
    for name in batch:
        if name not in names:
            raise DataError(
                f"batch {number}: the network has no input {name!r}; its inputs are {', '.join(names)}; "
                "remove it from the batch"
            )


def _why_never_called(int8: bool | None, quantized: bool | None) -> str:
    if quantized:
        return "the network has Q/DQ layers, whose scales TensorRT uses instead; give it the float model"
    if int8 is False:
        return "the builder's INT8 flag is not set; set BuilderFlag.INT8"
    causes = {
        "every tensor has a dynamic range already": quantized is not None and int8 is not None,
        "the network has Q/DQ layers": quantized is None,
        "the INT8 flag is not set": int8 is None,
        "config.int8_calibrator was not set to this calibrator": True,
        "the build failed before calibration": True,
    }
    return "likely causes: " + "; ".join(cause for cause, possible in causes.items() if possible)

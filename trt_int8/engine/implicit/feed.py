"""The batches of one calibration: read once, held against each other and the model, hashed on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from trt_int8.batches import checked
from trt_int8.batches.items import Batches, DataDigest, as_batch, cuda_interface, on_device, require_batches
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph import InputSpec

Batch = Mapping[str, Any]
Kind = tuple[tuple[int, ...], str]  # shape and dtype
Staged = Callable[[str, tuple[int, ...], str], Kind]

_NO_BATCHES = """the data holds no batches, so there is nothing to calibrate with. Likely causes:
  - a generator that was used up before: pass a list, or a fresh generator
  - an empty folder, or a pattern that matches no file
  - fewer samples than one batch while short batches are dropped
  - a limit of 0"""


class Feed:
    """The batches in order, each of the first one's names, shapes and dtypes; can be read once.

    Arrays on the host come out as numpy arrays; arrays on the device (``__cuda_array_interface__``,
    DLPack) as they are.

    Args:
        batches: ``{input name: array}``; where the model is known also tuples and arrays, see
            `trt_int8.batches.items.as_batch`.
        specs: the model's inputs, where the model is known.
        staged: what the device makes of an input, see `ConvertingDevice.staged`; None: nothing.
        loading: entered while ``batches`` loads.

    Attributes:
        read: number of batches handed out so far.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        specs: Mapping[str, InputSpec] | None = None,
        staged: Staged | None = None,
        loading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        require_batches(batches, specs)
        self._held = getattr(batches, "add_held_to", None)  # samples that are held back belong to the data
        self._source = _named(_watched(batches, loading), specs)
        self._specs = specs
        self._staged = staged or (lambda name, shape, dtype: (shape, dtype))
        self._first: Batch | None = None
        self._digest: DataDigest | None = DataDigest()
        self._started = self._ended = False
        self.read = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape in which each input of the first batch, which is read for this, reaches the builder.

        Raises:
            CalibrationError: there is no batch.
            DataError: it is not a dict of arrays.
        """
        kinds = {name: _kind(value, name) for name, value in self._peek().items()}
        return {name: self._staged(name, *kind)[0] for name, kind in kinds.items()}

    @property
    def batch_size(self) -> int:
        """First axis of the first batch.

        Raises:
            CalibrationError: there is no batch.
            DataError: it is not a dict of arrays with one size on their first axes.
        """
        sizes = {name: _shape(value, name)[0] for name, value in self._peek().items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise DataError(
                f"batch 0: the first axes of the inputs differ ({listed}); make them one batch size"
            )
        return next(iter(sizes.values()))

    def __iter__(self) -> Iterator[Batch]:
        """All batches; for one reader.

        Raises:
            CalibrationError: there is no batch, or the data was read before.
            DataError: a batch does not fit the model, or is unlike the first one.
        """
        if self._started:
            raise CalibrationError("the calibration data was read before, and can be read once")
        first = self._peek()
        self._started = True
        batch_size = self.batch_size
        kinds = {name: _kind(value, name) for name, value in first.items()}
        staged = {name: self._staged(name, *kind) for name, kind in kinds.items()}
        _refuse_float64(staged)
        batches: Iterator[Batch] = itertools.chain([first], self._source)
        if self._specs is not None:
            converted = {name for name in kinds if staged[name] != kinds[name]}
            if any(map(on_device, first.values())) or converted:
                _against_model(staged, self._specs)
            else:  # on the host the values can be checked too
                batches = checked(batches, self._specs, place="calibration data")
        for batch in batches:
            _compare(batch, kinds, batch_size, f"batch {self.read}")
            arrays = {name: value if on_device(value) else np.asarray(value) for name, value in batch.items()}
            self._add_to_digest(arrays)
            self.read += 1
            yield arrays
        self._ended = True

    def data_id(self) -> str | None:
        """Hash of every sample, whatever their order and batches; reads the data if nobody has.

        None for data on the device, which is not fetched back for this.
        """
        if any(map(on_device, self._peek().values())):
            return None
        if not self._ended:
            for _ in self:
                pass
        if self._digest is not None and self._held is not None:
            self._held(self._digest)
            self._held = None
        return None if self._digest is None else self._digest.hexdigest()

    def _peek(self) -> Batch:
        if self._first is None:
            try:
                first = next(self._source)
            except StopIteration:
                raise CalibrationError(_NO_BATCHES) from None
            if not first:
                raise DataError("batch 0 is an empty dict; each batch must be a dict {input name: array}")
            self._first = first
        return self._first

    def _add_to_digest(self, batch: Mapping[str, Any]) -> None:
        """Add up hashes of the samples: a sum does not depend on their order."""
        if self._digest is None or any(map(on_device, batch.values())):
            self._digest = None
            return
        self._digest.add(batch)


def _watched(batches: Batches, loading: Callable[[], AbstractContextManager[None]]) -> Iterator[object]:
    with loading():
        source = iter(batches)
    while True:
        with loading():
            try:
                batch = next(source)
            except StopIteration:
                return
        yield batch


def _named(batches: Iterable[object], specs: Mapping[str, InputSpec] | None) -> Iterator[Batch]:
    for number, batch in enumerate(batches):
        if isinstance(batch, Mapping):
            yield batch
        elif specs is not None:
            yield as_batch(batch, specs, place=f"batch {number}")
        else:
            raise DataError(
                f"batch {number} is a {type(batch).__name__}; each batch must be a dict "
                "{input name: array}; for arrays and tuples give the calibrator the names: model='model.onnx'"
            )


def _against_model(staged: Mapping[str, Kind], specs: Mapping[str, InputSpec]) -> None:
    for name, (shape, dtype) in staged.items():
        if name not in specs:
            raise DataError(f"batch 0: {name!r} is no input of the model, which has {', '.join(specs)}")
        spec = specs[name]
        fits = len(shape) == len(spec.shape) and all(
            isinstance(want, str) or have == want for have, want in zip(shape, spec.shape, strict=True)
        )
        if dtype != str(spec.dtype) or not fits:
            raise DataError(
                f"batch 0, input {name!r}: reaches TensorRT as {dtype}{list(shape)}, "
                f"and the model takes {spec}"
            )


def _compare(batch: Batch, kinds: Mapping[str, Kind], batch_size: int, place: str) -> None:
    if batch.keys() != kinds.keys():
        raise DataError(
            f"{place}: inputs {', '.join(batch)}, where batch 0 has {', '.join(kinds)}; "
            "every batch must have the same inputs"
        )
    for name, (shape, dtype) in kinds.items():
        found = _shape(batch[name], name)
        if found[1:] == shape[1:] and found[0] < batch_size:
            raise DataError(
                f"{place}, input {name!r}: {found[0]} samples, where batch 0 has {batch_size}; TensorRT "
                "reads whole batches only, so drop the short last batch or pad it (last='drop', last='pad'; "
                "drop_last=True for a DataLoader)"
            )
        if (found, _dtype(batch[name])) != (shape, dtype):
            raise DataError(
                f"{place}, input {name!r}: {_dtype(batch[name])}{list(found)}, where batch 0 has "
                f"{dtype}{list(shape)}; calibration runs at one shape, so resize or pad the samples"
            )


def _refuse_float64(kinds: Mapping[str, Kind]) -> None:
    for name, (_, dtype) in kinds.items():
        if dtype == "float64":
            raise DataError(
                f"batch 0, input {name!r}: dtype is float64, which TensorRT would read as float32 bytes; "
                "convert with .astype('float32')"
            )


def _kind(value: Any, name: str) -> Kind:
    return _shape(value, name), _dtype(value)


def _shape(value: Any, name: str) -> tuple[int, ...]:
    interface = cuda_interface(value)
    if interface is not None:
        shape = tuple(interface["shape"])
    else:
        shape = tuple(value.shape) if hasattr(value, "shape") else np.shape(value)
    if not shape or shape[0] == 0:
        raise DataError(
            f"input {name!r}: shape is {list(shape)}; the first axis must count the samples of the batch"
        )
    return tuple(int(size) for size in shape)


def _dtype(value: Any) -> str:
    interface = cuda_interface(value)
    if interface is not None and np.dtype(interface["typestr"]).kind != "V":  # numpy has no bfloat16
        return str(np.dtype(interface["typestr"]))
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return str(dtype).removeprefix("torch.")

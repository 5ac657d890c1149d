"""Read the batches of one calibration, check them, and hash them."""

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
_NO_BATCHES = """the calibration data has no batches. Likely causes:
  - a generator that was already consumed: pass a list, or a new generator
  - an empty folder, or a pattern that matches no file
  - fewer samples than one batch while short batches are dropped
  - a limit of 0"""


class Feed:
    """The batches in order, all with the names, shapes and dtypes of the first; can be read once.

    Arrays on the host become numpy arrays. Arrays on the device (``__cuda_array_interface__``, DLPack) stay
    unchanged.

    Args:
        batches: ``{input name: array}``; with ``specs`` also tuples and arrays, see
            `trt_int8.batches.items.as_batch`.
        specs: the model's inputs, if the model is known.
        staged: shape and dtype of an input after the device, see `ConvertingDevice.staged`; None: unchanged.
        loading: context manager that is entered while ``batches`` loads.

    Attributes:
        read: number of batches so far.
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
        self._held = getattr(batches, "add_held_to", None)  # held-back samples are part of the data's hash
        self._source = _named(_watched(batches, loading), specs)
        self._specs = specs
        self._staged = staged or (lambda name, shape, dtype: (shape, dtype))
        self._first: Batch | None = None
        self._digest: DataDigest | None = DataDigest()
        self._started = self._ended = False
        self.read = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input of the first batch at the builder; reads the first batch."""
        kinds = {name: _kind(value, name) for name, value in self._peek().items()}
        return {name: self._staged(name, *kind)[0] for name, kind in kinds.items()}

    @property
    def batch_size(self) -> int:
        """First axis of the first batch, which must be the same for all inputs."""
        sizes = {name: _shape(value, name)[0] for name, value in self._peek().items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise DataError(f"batch 0: the inputs have different batch sizes ({listed}); make them equal")
        return next(iter(sizes.values()))

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches, once; DataError if one does not fit the model or differs from the first."""
        if self._started:
            raise CalibrationError(
                "the calibration data was already consumed; pass a new iterator, or a list of batches"
            )
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
            if self._digest is not None and not any(map(on_device, arrays.values())):
                self._digest.add(arrays)  # a sum of hashes: it does not depend on the order of samples
            else:
                self._digest = None
            self.read += 1
            yield arrays
        self._ended = True

    def data_id(self) -> str | None:
        """Return a hash of all samples that does not depend on their order and batches; reads unread data.

        None for data on the device: it is not copied to the host for this.
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
                "{input name: array}; arrays and tuples need the model for the names: model='model.onnx'"
            )


def _against_model(staged: Mapping[str, Kind], specs: Mapping[str, InputSpec]) -> None:
    for name, (shape, dtype) in staged.items():
        if name not in specs:
            raise DataError(f"batch 0: the model has no input {name!r}; its inputs are {', '.join(specs)}")
        spec = specs[name]
        fits = len(shape) == len(spec.shape) and all(
            isinstance(want, str) or have == want for have, want in zip(shape, spec.shape, strict=True)
        )
        if dtype != str(spec.dtype) or not fits:
            raise DataError(
                f"batch 0, input {name!r}: the batch is {dtype}{list(shape)}, but the model expects {spec}"
            )


def _compare(batch: Batch, kinds: Mapping[str, Kind], batch_size: int, place: str) -> None:
    if batch.keys() != kinds.keys():
        raise DataError(
            f"{place} has the inputs {', '.join(batch)}, but batch 0 has {', '.join(kinds)}; all batches "
            "must have the same inputs"
        )
    for name, (shape, dtype) in kinds.items():
        found = _shape(batch[name], name)
        if found[1:] == shape[1:] and found[0] < batch_size:
            raise DataError(
                f"{place}, input {name!r} has {found[0]} samples, but batch 0 has {batch_size}; TensorRT "
                "needs whole batches, so drop or pad the short last batch (last='drop', last='pad'; "
                "drop_last=True for a DataLoader)"
            )
        if (found, _dtype(batch[name])) != (shape, dtype):
            raise DataError(
                f"{place}, input {name!r} is {_dtype(batch[name])}{list(found)}, but batch 0 is "
                f"{dtype}{list(shape)}; calibration uses one shape, so resize or pad the samples"
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
            f"input {name!r} has shape {list(shape)}; the first axis must be the batch axis, with at least "
            "1 sample"
        )
    return tuple(int(size) for size in shape)


def _dtype(value: Any) -> str:
    interface = cuda_interface(value)
    if interface is not None and np.dtype(interface["typestr"]).kind != "V":  # numpy has no bfloat16
        return str(np.dtype(interface["typestr"]))
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return str(dtype).removeprefix("torch.")

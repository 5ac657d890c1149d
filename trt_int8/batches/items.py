"""What an iterable of batches may hold: dicts, tuples, arrays; numpy's or torch's.

`DataDigest` hashes the samples in them, whatever their order and the size of the batches.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec

#: One batch each: a mapping by input name, a tuple or list in the order of the inputs, or an array.
Batches: TypeAlias = Iterable[Mapping[str, Any] | Sequence[Any] | npt.NDArray[Any]]

_CUDA_DEVICES = (2, 13)  # DLPack: kDLCUDA, kDLCUDAManaged


def require_batches(
    batches: object, specs: Mapping[str, InputSpec] | None = None, *, found: str = "the data is"
) -> None:
    """Refuse what is no iterable of batches, above all what people give instead of one.

    Args:
        batches: whatever was given.
        specs: the model's inputs, where they are known: an array of their rank is one batch.
        found: how a message begins.

    Raises:
        DataError: None, a path, one batch, one array, a function, a number, …; with what to give.
    """
    if batches is None:
        raise DataError(f"{found} None; give an iterable of batches {{input name: array}}, such as a list")
    if isinstance(batches, str | bytes | os.PathLike):
        raise DataError(
            f"{found} the path {os.fspath(batches)!r}; read it first: [x[None] for x in numpy.load(…)], "
            "or images with trt_int8.batches.open_images"
        )
    if isinstance(batches, Mapping):
        keys = ", ".join(map(str, list(batches)[:5]))
        raise DataError(
            f"{found} one mapping ({keys}); give an iterable of batches, [batch] if it is the only one"
        )
    inputs = list((specs or {}).values())
    if len(inputs) == 1 and len(getattr(batches, "shape", ())) == len(inputs[0].shape):
        size = inputs[0].batch or 8
        raise DataError(
            f"{found} one array of shape {list(batches.shape)}; cut it into batches: "  # type: ignore[attr-defined]  # an array, by the test above
            f"[array[i : i + {size}] for i in range(0, len(array), {size})]"
        )
    if isinstance(batches, type) or not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        what = f"a {type(batches).__name__}; call it and give what it returns"
        if not callable(batches):
            what = f"{batches!r:.80}; give an iterable of batches {{input name: array}}"
        raise DataError(f"{found} {what}")


def as_batch(item: object, names: Sequence[str] | Mapping[str, object], *, place: str) -> dict[str, Any]:
    """One batch as ``{input name: array}``, the arrays as they are.

    Args:
        item: a mapping by input name; a tuple or list in the order of the inputs; or, for a model with
            one input, an array. Of a tuple for a model with one input the first item is
            taken: ``DataLoader`` yields ``(images, labels)``.
        names: the model's inputs, in order.
        place: what to call the batch in messages.

    Raises:
        DataError: the item is none of these, or a tuple does not tell which items are meant.
    """
    names = list(names)
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, tuple | list):
        if len(item) < len(names) or not item:
            raise DataError(
                f"{place}: a tuple of {len(item)} for the {len(names)} inputs {', '.join(names)}; "
                "give one array an input, in this order"
            )
        if len(item) > len(names) > 1:
            raise DataError(
                f"{place}: a tuple of {len(item)} for the {len(names)} inputs {', '.join(names)}, so it is "
                "open which are meant; give dicts {input name: array}"
            )
        return dict(zip(names, item, strict=False))
    if len(names) == 1 and (hasattr(item, "__array__") or hasattr(item, "detach")):
        return {names[0]: item}
    raise DataError(
        f"{place}: is a {type(item).__name__}; each batch must be a dict {{input name: array}} (or a tuple "
        f"in that order) with the inputs {', '.join(names)}"
    )


def to_numpy(value: Any, *, place: str) -> npt.NDArray[np.generic]:
    """``value`` as an array: anything numpy understands, and torch tensors from whatever device.

    Raises:
        DataError: numpy cannot make an array of it (ragged lists, torch's bfloat16, …).
    """
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{place}: no array can be made of this {type(value).__name__}: {error}") from error


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array of whatever library."""
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def on_device(value: object) -> bool:
    """Whether ``value`` is an array in CUDA memory."""
    if cuda_interface(value) is not None:
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and device()[0] in _CUDA_DEVICES


def cuda_interface(value: object) -> Mapping[str, Any] | None:
    """The CUDA array interface; torch raises where it has none: for bfloat16, and for what requires grad."""
    try:
        found: Mapping[str, Any] | None = getattr(value, "__cuda_array_interface__", None)
    except (RuntimeError, TypeError, KeyError):
        return None
    return found


class DataDigest:
    """The sum, modulo 2**256, of the SHA-256 of every sample added so far."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, batch: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add each sample of ``{input name: array}``; their first axis counts them."""
        arrays = {name: np.ascontiguousarray(batch[name]) for name in sorted(batch)}
        counted = {name: array if np.ndim(batch[name]) else array[None] for name, array in arrays.items()}
        for index in range(max(map(len, counted.values()))):
            sample = hashlib.sha256()
            for name, array in counted.items():
                if index < len(array):
                    sample.update(f"{name} {array.dtype.str} {array.shape[1:]} ".encode())
                    sample.update(np.ascontiguousarray(array[index]).reshape(-1).view(np.uint8).data)
            self._sum = (self._sum + int.from_bytes(sample.digest(), "big")) % 2**256

    def hexdigest(self) -> str:
        return f"{self._sum:064x}"

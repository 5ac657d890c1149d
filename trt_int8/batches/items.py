"""Read batches in any form: dicts, tuples or arrays, of numpy or torch.

`DataDigest` hashes samples; their order and the size of the batches make no difference.
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

#: Each batch is a mapping by input name, a tuple or list in the order of the inputs, or an array.
Batches: TypeAlias = Iterable[Mapping[str, Any] | Sequence[Any] | npt.NDArray[Any]]
_CUDA_DEVICES = (2, 13)  # DLPack: kDLCUDA, kDLCUDAManaged


def require_batches(
    batches: object, specs: Mapping[str, InputSpec] | None = None, *, found: str = "the data is"
) -> None:
    """Check that ``batches`` is an iterable of batches; name what to give instead.

    Args:
        batches: the argument to check.
        specs: the model's inputs, if known: an array of their rank is one batch.
        found: the beginning of the message.

    Raises:
        DataError: it is None, a path, one batch, one array, a function, a number, …
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
    """Return one batch as ``{input name: array}``; the arrays are not changed.

    Args:
        item: a mapping by input name; a tuple or list in the order of the inputs; or, for a model with
            one input, an array, or a tuple that begins with it (``DataLoader`` yields ``(images, labels)``).
        names: the model's inputs, in order.
        place: the name of the batch in messages.

    Raises:
        DataError: the item is none of these, or the assignment of a tuple is ambiguous.
    """
    names = list(names)
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, tuple | list):
        if len(item) < len(names) or not item:
            raise DataError(
                f"{place}: the batch is a tuple of {len(item)}, but the model has {len(names)} inputs "
                f"({', '.join(names)}); give one array per input, in this order"
            )
        if len(item) > len(names) > 1:
            raise DataError(
                f"{place}: the batch is a tuple of {len(item)}, but the model has {len(names)} inputs "
                f"({', '.join(names)}), so the assignment is ambiguous; give dicts {{input name: array}}"
            )
        return dict(zip(names, item, strict=False))
    if len(names) == 1 and (hasattr(item, "__array__") or hasattr(item, "detach")):
        return {names[0]: item}
    raise DataError(
        f"{place} is a {type(item).__name__}; each batch must be a dict {{input name: array}} (or a tuple in "
        f"that order) with the inputs {', '.join(names)}"
    )


def to_numpy(value: Any, *, place: str) -> npt.NDArray[np.generic]:
    """Convert anything that numpy understands, and torch tensors of any device, to an array."""
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{place}: cannot convert {type(value).__name__} to an array: {error}") from error


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array of any library."""
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def on_device(value: object) -> bool:
    """Return whether ``value`` is an array in CUDA memory."""
    if cuda_interface(value) is not None:
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and device()[0] in _CUDA_DEVICES


def cuda_interface(value: object) -> Mapping[str, Any] | None:
    """Return the CUDA array interface, or None. torch raises for bfloat16 and tensors that require grad."""
    try:
        return getattr(value, "__cuda_array_interface__", None)
    except (RuntimeError, TypeError, KeyError):
        return None


class DataDigest:
    """The sum, modulo 2**256, of the SHA-256 of every sample added so far."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, batch: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add each sample of ``batch``."""
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

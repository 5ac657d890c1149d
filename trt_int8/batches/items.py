"""What an iterable of batches may hold: dicts, tuples, arrays; numpy's or torch's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trt_int8.errors import DataError

#: One batch each: a mapping by input name, a tuple or list in the order of the inputs, or an array.
Batches: TypeAlias = Iterable[Mapping[str, Any] | Sequence[Any] | npt.NDArray[Any]]


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

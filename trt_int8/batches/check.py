"""Check batches against the model's inputs, and their shapes against the optimization profile."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from trt_int8.batches.items import as_batch, shape_of, to_numpy
from trt_int8.batches.samples import Batch as Batch
from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec
from trt_int8.graph.shapes import Shape, Shapes


def checked(
    batches: Iterable[object],
    specs: Mapping[str, InputSpec],
    *,
    shapes: Shapes | None = None,
    place: str = "the data",
    first: int = 0,
) -> Iterator[Batch]:
    """Check names, shapes, dtypes and values of each batch, and yield a dict in the order of the inputs.

    A batch may have any form that `trt_int8.batches.items.as_batch` understands. If ``batches`` has a true
    attribute ``is_checked``, its batches are not checked again.

    Args:
        batches: the batches.
        specs: the model's inputs.
        shapes: the optimization profile that the batches must fit.
        place: the name of the data in messages.
        first: the number of the first batch in messages.

    Raises:
        DataError: the first error found, with its batch, input and index; or there is no batch.
    """
    if getattr(batches, "is_checked", False):
        yield from batches  # type: ignore[misc]  # checked when they were made
        return
    number = None
    for number, batch in enumerate(batches, first):
        where = f"{place}, batch {number}"
        batch = as_batch(batch, specs, place=where)
        _check_names(batch, specs, where)
        require_within(shapes or {}, batch, specs, where)
        yield {name: _checked_array(batch[name], spec, where) for name, spec in specs.items()}
    if number is None:
        raise DataError(
            f"{place}: holds no batches; a generator may have been used up already, so pass a new one, or "
            "a list"
        )


def _check_names(batch: Mapping[str, object], specs: Mapping[str, InputSpec], where: str) -> None:
    listed = ", ".join(specs)
    for name in batch:
        if name not in specs:
            near = difflib.get_close_matches(str(name), list(specs), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{where}: {name!r} is not an input of the model (inputs: {listed}){hint}")
    for name in specs:
        if name not in batch:
            raise DataError(f"{where}: input {name!r} is missing; each batch needs {listed}")


@dataclass(frozen=True)
class CheckedBatches:
    """Batches that were checked already; `checked` does not check them again."""

    batches: Iterable[Batch]
    is_checked: ClassVar[bool] = True

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def count_samples(batches: Iterable[Batch], specs: Mapping[str, InputSpec]) -> int:
    """Return the number of samples: of each batch, the longest first axis; 1 if it has only scalars.

    Only inputs whose first axis is dynamic count, if there are any: the others may be constants.
    """
    dynamic = {name for name, spec in specs.items() if spec.shape and spec.batch is None}
    counted = [[a for name, a in batch.items() if name in dynamic] or batch.values() for batch in batches]
    return sum(max(len(array) if array.ndim else 1 for array in arrays) for arrays in counted)


def _checked_array(value: Any, spec: InputSpec, where: str) -> npt.NDArray[np.generic]:
    place = f"{where}, input {spec.name!r}"
    array = to_numpy(value, place=place)
    if array.dtype.newbyteorder("=") == spec.dtype:
        array = array.astype(spec.dtype, copy=False)  # the other byte order
    if array.dtype != spec.dtype:
        raise DataError(
            f"{place}: dtype is {array.dtype} and the model takes {spec.dtype}; convert and scale the "
            f"samples as in training, then .astype('{spec.dtype}')"
        )
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(want, str) or have == want for have, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, spec.shape))
        raise DataError(
            f"{place}: shape is {list(array.shape)} and the model takes [{wanted}]{_shape_hint(array, spec)}"
        )
    if array.size == 0:
        raise DataError(f"{place}: the array is empty (shape {list(array.shape)}); remove empty batches")
    if spec.is_float and not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise DataError(
            f"{place}, index {index}: value is {array[tuple(index)]}; calibration data must be finite, "
            "so fix or remove that sample (in a mask, use a large negative number such as -1e9)"
        )
    return np.ascontiguousarray(array)


def _shape_hint(array: npt.NDArray[np.generic], spec: InputSpec) -> str:
    fixed = spec.batch
    if len(array.shape) == len(spec.shape) and fixed is not None and array.shape[0] != fixed:
        if array.shape[0] < fixed:
            return f"; a short last batch: drop or pad it (the model's batch size is fixed at {fixed})"
        return f"; the model's batch size is fixed at {fixed}"
    if len(array.shape) + 1 == len(spec.shape):
        return "; the batch axis is missing"
    if len(array.shape) == 4 and len(spec.shape) == 4 and array.shape[3] == spec.shape[1]:
        return "; it looks channels-last: transpose to NCHW"
    return ""


def first_shapes(batches: Iterable[object], specs: Mapping[str, InputSpec]) -> dict[str, Shape]:
    """Read the first batch and return the shape of each input; empty if there is no batch."""
    for item in batches:
        batch = as_batch(item, specs, place="the data, batch 0")
        return {name: shape_of(value) for name, value in batch.items()}
    return {}


def require_within(
    shapes: Shapes, batch: Mapping[str, Any], specs: Mapping[str, InputSpec], place: str
) -> None:
    """Check one batch against the optimization profile; its first axis may be shorter."""
    for name, wanted in shapes.items():
        sizes = shape_of(batch.get(name, ()))
        shape = specs[name].shape
        fixed = [axis for axis, size in enumerate(shape) if isinstance(size, int)]
        if len(sizes) != len(shape) or any(sizes[axis] != shape[axis] for axis in fixed):
            continue  # reported with more detail when the batch is checked
        for axis, size in enumerate(sizes):
            low = 1 if axis == 0 else wanted.min[axis]
            if not low <= size <= wanted.max[axis]:
                raise DataError(
                    f"{place}, input {name!r}: shape {list(sizes)} is outside the optimization profile "
                    f"(axis {axis}: min {wanted.min[axis]}, max {wanted.max[axis]}); use calibration data "
                    f"inside the profile, or widen shapes={f'{name}:{wanted}'!r}"
                )

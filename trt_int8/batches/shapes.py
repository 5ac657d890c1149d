"""Hold the shapes of batches against those an engine is built for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trt_int8.batches.items import as_batch, shape_of
from trt_int8.errors import DataError
from trt_int8.model.inputs import InputSpec
from trt_int8.model.shape_range import Shape, Shapes


def first_shapes(batches: Iterable[object], specs: Mapping[str, InputSpec]) -> dict[str, Shape]:
    """Shape of each input in the first batch, which is used up; empty if there is no batch."""
    for item in batches:
        batch = as_batch(item, specs, place="the data, batch 0")
        return {name: shape_of(value) for name, value in batch.items()}
    return {}


def require_within(
    shapes: Shapes, batch: Mapping[str, Any], specs: Mapping[str, InputSpec], place: str
) -> None:
    """Hold one batch against the shapes that the engine will take. The first axis may be shorter.

    Raises:
        DataError: an axis is outside the range of shapes.
    """
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
                    f"{place}, input {name!r}: shape is {list(sizes)} and the engine is to take "
                    f"{wanted.min[axis]} to {wanted.max[axis]} on axis {axis}; calibrate at shapes "
                    f"that will be used, or widen shapes='{name}:{wanted}'"
                )

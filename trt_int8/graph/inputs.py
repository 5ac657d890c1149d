"""Describe the inputs of a model: name, dtype and shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from trt_int8.errors import ModelError


@dataclass(frozen=True)
class InputSpec:
    """One input of a model. ``shape`` has a size per axis, or the name of a dynamic dimension (or "?")."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str, ...]

    @property
    def batch(self) -> int | None:
        """The fixed size of the first axis; None if it is dynamic."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """Axes without a fixed size."""
        return tuple(axis for axis, size in enumerate(self.shape) if isinstance(size, str))

    @property
    def is_float(self) -> bool:
        return np.issubdtype(self.dtype, np.floating)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.shape))}]"


def input_specs(model: onnx.ModelProto) -> dict[str, InputSpec]:
    """Return the inputs to feed, in graph order, without initializers that are listed as inputs.

    Raises:
        ModelError: the model has no input, or one that is not a numeric tensor.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    specs = [_spec(value) for value in model.graph.input if value.name not in weights]
    if not specs:
        raise ModelError("the model has no input, so it cannot be calibrated")
    return {spec.name: spec for spec in specs}


def fixed_batch(specs: Mapping[str, InputSpec]) -> int | None:
    """Return the fixed batch size of the model; None if it accepts any.

    Raises:
        ModelError: inputs have different sizes on their first axis.
    """
    sizes = {spec.batch: name for name, spec in specs.items() if spec.batch is not None}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {size}" for size, name in sizes.items())
        raise ModelError(
            f"the inputs have different sizes on axis 0 ({found}), so arrays cannot be split into batches; "
            "pass an iterable of batches"
        )
    return next(iter(sizes), None)


def has_batch_axis(model: onnx.ModelProto) -> bool:
    """Return whether the first axes of all inputs and outputs are dynamic and have one name, where known.

    Some exporters number all axes (``p2o.DynamicDimension.0``, ``unk__12``): such numbers do not count.
    """
    shapes = [spec.shape for spec in input_specs(model).values()]
    shapes += [_shape(value) for value in model.graph.output if value.type.tensor_type.shape.dim]
    first = {shape[0] if shape else 1 for shape in shapes} - {"?"}
    names = {re.sub(r"(?<=[._])\d+$", "", size) for size in first if isinstance(size, str)}
    return len(names) <= 1 and all(isinstance(size, str) for size in first)


def _spec(value: onnx.ValueInfoProto) -> InputSpec:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.elem_type:
        raise ModelError(f"input {value.name!r} is not a tensor; only tensors can be fed")
    if tensor.elem_type == onnx.TensorProto.STRING:
        raise ModelError(
            f"input {value.name!r} has type string, which TensorRT does not support; remove this part of the "
            "model"
        )
    return InputSpec(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), _shape(value))


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    )

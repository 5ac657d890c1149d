"""Handle symbolic dimensions that share a name. TensorRT requires them to be equal; models may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from trt_int8.errors import ShapeError
from trt_int8.graph.shapes import Shapes


@dataclass(frozen=True)
class UnequalDim:
    """A symbol of several ``axes``, (input, axis) each, that are to have different ``sizes``."""

    symbol: str
    axes: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        places = zip(self.axes, self.sizes, strict=True)
        listed = ", ".join(f"{size} on axis {axis} of {name!r}" for (name, axis), size in places)
        return f"dimension {self.symbol!r} is {listed}"


def unequal_dims(model: onnx.ModelProto, shapes: Shapes) -> list[UnequalDim]:
    """Find symbols that have different sizes in ``shapes``, in all inputs of the model together.

    TensorRT requires axes with one name to be equal, within an input and across inputs. It rejects other
    shapes ("… are not equal"), even if the model allows them.
    """
    found = []
    for symbol, axes in _symbols(model).items():
        known = [(name, axis) for name, axis in axes if name in shapes]
        for kind in ("max", "opt", "min"):
            sizes = tuple(getattr(shapes[name], kind)[axis] for name, axis in known)
            if len(set(sizes)) > 1:
                found.append(UnequalDim(symbol, tuple(known), sizes))
                break
    return found


def require_equal_dims(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Check that TensorRT will not reject ``shapes`` because of equal names.

    Raises:
        ShapeError: a symbol has different sizes in ``shapes``.
    """
    unequal = unequal_dims(model, shapes)
    if unequal:
        raise ShapeError(
            f"{'; '.join(map(str, unequal))}: TensorRT requires dimensions with the same name to be equal; "
            "if they are independent (some exporters call all of them '?'), add rename_dims=True"
        )


def rename_unequal_dims(model: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """Return a copy in which the axes that `unequal_dims` finds have different names; ``model`` if none.

    The symbol is removed from outputs and value infos, where its meaning is ambiguous.
    """
    unequal = {dim.symbol for dim in unequal_dims(model, shapes)}
    if not unequal:
        return model
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    for value in renamed.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in unequal:
                dim.dim_param = f"{value.name}_{axis}"
    for value in (*renamed.graph.output, *renamed.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in unequal:
                dim.ClearField("dim_param")
    return renamed


def _symbols(model: onnx.ModelProto) -> Mapping[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                found.setdefault(dim.dim_param, []).append((value.name, axis))
    return found

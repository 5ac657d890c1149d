"""Symbolic dimensions that share a name: equal by definition for TensorRT, not always in truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from trt_int8.errors import ShapeError
from trt_int8.graph.shapes import Shapes


@dataclass(frozen=True)
class UnequalDim:
    """A symbol on several axes for which different sizes are wanted.

    Attributes:
        symbol: the name the model gives these axes.
        axes: (input, axis) of each place.
        sizes: the sizes wanted there, as many.
    """

    symbol: str
    axes: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        places = zip(self.axes, self.sizes, strict=True)
        listed = ", ".join(f"{size} on axis {axis} of {name!r}" for (name, axis), size in places)
        return f"dimension {self.symbol!r} is {listed}"


def unequal_dims(model: onnx.ModelProto, shapes: Shapes) -> list[UnequalDim]:
    """Symbols that stand for different sizes in ``shapes``, all inputs of the model together.

    TensorRT takes axes with one name to be equal, within an input and across inputs, and refuses such
    shapes ("… are not equal") whatever the model computes.
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
    """Refuse what TensorRT would refuse, with the way out.

    Raises:
        ShapeError: a symbol stands for different sizes in ``shapes``.
    """
    unequal = unequal_dims(model, shapes)
    if unequal:
        raise ShapeError(
            f"{'; '.join(map(str, unequal))}: TensorRT holds dimensions of one name equal; if they may "
            "differ (exporters like to call all of them '?'), add rename_dims=True"
        )


def rename_unequal_dims(model: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """``model`` with names of their own for the axes that `unequal_dims` finds; itself if there is none.

    The symbol is dropped from outputs and value infos, where it cannot be told which axis it meant.
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

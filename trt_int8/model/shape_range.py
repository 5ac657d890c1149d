"""The min, opt and max shape of an input: what an optimization profile of TensorRT holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from trt_int8.errors import ShapeError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """Shapes that an optimization profile holds for one input.

    Attributes:
        min: the smallest size of each axis.
        opt: the sizes that TensorRT optimizes for, and that calibration uses.
        max: the largest size of each axis.
    """

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        ranks = {len(shape) for shape in (self.min, self.opt, self.max)}
        if len(ranks) > 1:
            raise ShapeError(f"{self}: the shapes have {sorted(ranks)} axes; give each axis in all of them")
        for axis, sizes in enumerate(zip(self.min, self.opt, self.max, strict=True)):
            if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
                raise ShapeError(
                    f"{self}: axis {axis} goes {' → '.join(map(str, sizes))}; give the min, opt and max "
                    "shape in this order, sizes from 1"
                )

    def __str__(self) -> str:
        return ",".join("x".join(map(str, shape)) for shape in (self.min, self.opt, self.max))


Shapes = Mapping[str, ShapeRange]
#: What people may give for `Shapes`, see `trt_int8.model.shape_texts.as_shapes`.
GivenShapes: TypeAlias = "str | Iterable[str] | Mapping[str, ShapeRange | str | Sequence[Any]]"

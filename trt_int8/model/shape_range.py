"""The smallest, the best and the largest shape that an engine has to take."""

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
        smallest: least size of each axis.
        best: what TensorRT optimizes for, and what calibration uses.
        largest: greatest size of each axis.
    """

    smallest: Shape
    best: Shape
    largest: Shape

    def __post_init__(self) -> None:
        ranks = {len(shape) for shape in (self.smallest, self.best, self.largest)}
        if len(ranks) > 1:
            raise ShapeError(f"{self}: the shapes have {sorted(ranks)} axes; give each axis in all of them")
        for axis, sizes in enumerate(zip(self.smallest, self.best, self.largest, strict=True)):
            if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
                raise ShapeError(
                    f"{self}: axis {axis} goes {' → '.join(map(str, sizes))}; give the smallest, best and "
                    "largest shape in this order, sizes from 1"
                )

    def __str__(self) -> str:
        return ",".join("x".join(map(str, shape)) for shape in (self.smallest, self.best, self.largest))


Shapes = Mapping[str, ShapeRange]
#: What people may give for `Shapes`, see `trt_int8.model.shape_texts.as_shapes`.
GivenShapes: TypeAlias = "str | Iterable[str] | Mapping[str, ShapeRange | str | Sequence[Any]]"

"""``--shapes`` and trtexec's spelling of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import grouped, option

if TYPE_CHECKING:
    from trt_int8.graph.shapes import ShapeRange


@dataclass(frozen=True)
class ShapeOptions:
    """What the shape options say."""

    shapes: tuple[str, ...]
    min_shapes: str | None
    opt_shapes: str | None
    max_shapes: str | None
    rename_dims: bool

    def parse(self) -> dict[str, ShapeRange]:
        """Ranges of shapes by input; empty if the options were left out."""
        from trt_int8.errors import ShapeError
        from trt_int8.graph.shapes import combine_shapes, parse_shapes

        trtexec = (self.min_shapes, self.opt_shapes, self.max_shapes)
        if self.shapes and any(trtexec):
            raise click.UsageError("give either --shapes, or --minShapes, --optShapes and --maxShapes")
        try:
            return parse_shapes(self.shapes) if self.shapes else combine_shapes(*trtexec)
        except ShapeError as error:
            raise click.UsageError(str(error)) from error


shapes = grouped(
    "shapes",
    ShapeOptions,
    [
        option(
            "--shapes",
            multiple=True,
            metavar="NAME:SHAPES",
            help="The min, opt and max shape of a dynamic input, as in "
            "x:1x3x224x224,8x3x224x224,32x3x224x224, or one shape for all three. Repeat it for other inputs.",
        ),
        option(
            "--min-shapes",
            "--minShapes",
            hidden=True,
            metavar="NAME:SHAPE,…",
            help="The min shapes, as for trtexec.",
        ),
        option(
            "--opt-shapes",
            "--optShapes",
            hidden=True,
            metavar="NAME:SHAPE,…",
            help="The opt shapes, as for trtexec.",
        ),
        option(
            "--max-shapes",
            "--maxShapes",
            hidden=True,
            metavar="NAME:SHAPE,…",
            help="The max shapes, as for trtexec.",
        ),
        option(
            "--rename-dims",
            is_flag=True,
            help="Give axes that share a symbolic name, and get different sizes, names of their own.",
        ),
    ],
    panel=Panel.SHAPES,
)

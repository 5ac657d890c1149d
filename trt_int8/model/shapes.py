"""Shapes for dynamic inputs: the smallest, the best and the largest that an engine has to take."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from trt_int8.errors import ShapeError
from trt_int8.model.inputs import InputSpec

Shape = tuple[int, ...]

#: ``name:1x3x224x224``; the name may hold colons, and quotes around it (as for trtexec) are dropped.
_NAMED = re.compile(r"^(?P<name>.+):(?P<sizes>[^:]*)$")
#: Sizes to propose for axes about which nothing is known.
_PROPOSED = {"pixels": 224, "tokens": 128}


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


def parse_shapes(texts: Iterable[str]) -> dict[str, ShapeRange]:
    """Read ``x:1x3x224x224,8x3x224x224,32x3x224x224``: smallest, best and largest shape of input ``x``.

    One shape alone stands for all three. Several inputs come as several texts, or one after the other
    in one text, as trtexec's ``--shapes`` has them.

    Examples:
        >>> str(parse_shapes(["x:1x3,8x3,32x3"])["x"])
        '1x3,8x3,32x3'
        >>> sorted(parse_shapes(["ids:1x128,mask:1x128"]))
        ['ids', 'mask']

    Raises:
        ShapeError: the text does not read like that, or names an input twice.
    """
    found: dict[str, list[Shape]] = {}
    for text in texts:
        for name, shapes in _named_shapes(text):
            if name in found:
                raise ShapeError(f"{text!r}: input {name!r} is given twice; give each input once")
            if len(shapes) not in (1, 3):
                raise ShapeError(
                    f"{text!r}: input {name!r} has {len(shapes)} shapes; give one, or three (smallest, best, "
                    f"largest): {name}:{'x'.join(map(str, shapes[0]))},…,…"
                )
            found[name] = shapes
    return {
        name: ShapeRange(shapes[0], shapes[len(shapes) // 2], shapes[-1]) for name, shapes in found.items()
    }


def combine_shapes(
    smallest: str | None = None, best: str | None = None, largest: str | None = None
) -> dict[str, ShapeRange]:
    """Read trtexec's ``--minShapes``, ``--optShapes`` and ``--maxShapes``, each ``a:1x3,b:1x4``.

    A text left out is taken from its neighbour: the smallest and the largest from the best one, the
    best one from the largest.

    Examples:
        >>> str(combine_shapes(smallest="x:1x3", largest="x:8x3")["x"])
        '1x3,8x3,8x3'

    Raises:
        ShapeError: a text does not read like that, or an input is missing in one of them.
    """
    best = best or largest or smallest
    if best is None:
        return {}
    parts = [_single_shapes(text) for text in (smallest or best, best, largest or best)]
    for part in parts:
        for name in parts[1]:
            if name not in part or len(part) != len(parts[1]):
                raise ShapeError(
                    f"the smallest, best and largest shapes name different inputs "
                    f"({'; '.join(', '.join(p) for p in parts)}); name the same ones in each"
                )
    return {name: ShapeRange(parts[0][name], parts[1][name], parts[2][name]) for name in parts[1]}


def resolve_shapes(
    specs: Mapping[str, InputSpec],
    shapes: Shapes | None = None,
    *,
    batch_size: int | None = None,
    seen: Callable[[], Mapping[str, Shape]] | None = None,
) -> dict[str, ShapeRange]:
    """A range of shapes for every input of a dynamic model; empty for a model of fixed shapes.

    Args:
        specs: the inputs of the model.
        shapes: ranges by input; a model whose only dynamic axis is the first needs none.
        batch_size: the largest batch where ``shapes`` says nothing (the smallest is 1).
        seen: finds the shapes of the first batch of data, to propose them in a message.

    Raises:
        ShapeError: shapes are missing (the message holds the option to add) or do not fit the model.
    """
    shapes = shapes or {}
    for name in shapes:
        if name not in specs:
            near = difflib.get_close_matches(name, list(specs), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ShapeError(f"shapes are given for {name!r}, which is no input ({', '.join(specs)}){hint}")
    for name, given in shapes.items():
        _require_fit(specs[name], given)
    dynamic = [spec for spec in specs.values() if spec.dynamic_axes]
    if not dynamic:
        return {}
    missing = [spec for spec in dynamic if spec.name not in shapes]
    open_axes = [(spec, axis) for spec in missing for axis in spec.dynamic_axes if axis or batch_size is None]
    if open_axes:
        known = seen() if seen else {}
        proposals = {spec: _proposal(spec, batch_size, known) for spec in missing}
        options = " ".join(f"--shapes '{spec.name}:{shape}'" for spec, shape in proposals.items())
        options += " --rename-dims" if _share_names(proposals) else ""
        raise ShapeError(
            f"{_dynamic_axes(open_axes)}; say which shapes to build for, smallest, best and largest "
            f"(TensorRT is fastest at the best), for instance: {options}"
        )
    resolved = dict(shapes)
    for spec in specs.values():
        if spec.name not in resolved:
            best = tuple(size if isinstance(size, int) else batch_size or 1 for size in spec.shape)
            smallest = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
            resolved[spec.name] = ShapeRange(smallest, best, best)
    return {name: resolved[name] for name in specs}


def _named_shapes(text: str) -> Iterable[tuple[str, list[Shape]]]:
    """Input names and their shapes in one option text."""
    entries: list[tuple[str, list[Shape]]] = []
    for item in text.split(","):
        named = _NAMED.match(item.strip())
        if named:
            entries.append((named["name"].strip("'\""), [_sizes(named["sizes"], text)]))
        elif entries:
            entries[-1][1].append(_sizes(item, text))
        else:
            raise ShapeError(f"{text!r}: no input is named; write name:1x3x224x224")
    return entries


def _single_shapes(text: str) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for name, shapes in _named_shapes(text):
        if len(shapes) != 1 or name in found:
            raise ShapeError(f"{text!r}: input {name!r} has more than one shape; give one an input")
        found[name] = shapes[0]
    return found


def _sizes(text: str, whole: str) -> Shape:
    parts = text.strip().lower().split("x")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ShapeError(f"{whole!r}: {text.strip()!r} is no shape; write sizes like 8x3x224x224")
    return tuple(map(int, parts))


def _require_fit(spec: InputSpec, given: ShapeRange) -> None:
    fits = len(given.best) == len(spec.shape) and all(
        isinstance(want, str) or want == low == high
        for want, low, high in zip(spec.shape, given.smallest, given.largest, strict=True)
    )
    if not fits:
        raise ShapeError(f"shapes {given} do not fit input {spec}; keep its axes and its fixed sizes")


def _dynamic_axes(axes: list[tuple[InputSpec, int]]) -> str:
    listed = [f"{spec.shape[axis]!r} (axis {axis})" for spec, axis in axes if spec is axes[0][0]]
    more = len({spec.name for spec, _ in axes}) - 1
    others = f" (and {more} more input{'s' if more > 1 else ''})" if more else ""
    return f"input {axes[0][0]} is dynamic in {', '.join(listed)}{others}"


def _share_names(proposals: Mapping[InputSpec, ShapeRange]) -> bool:
    """Whether axes of one name would get different sizes, which needs `trt_int8.model.dims`."""
    sizes: dict[str, set[int]] = {}
    for spec, proposed in proposals.items():
        for axis in spec.dynamic_axes:
            sizes.setdefault(str(spec.shape[axis]), set()).add(proposed.largest[axis])
    return any(len(found) > 1 for found in sizes.values())


def _proposal(spec: InputSpec, batch_size: int | None, seen: Mapping[str, Shape]) -> ShapeRange:
    """What to write behind ``--shapes``: sizes of the data where it was seen, else usual ones."""
    known = seen.get(spec.name, ())
    usual = _PROPOSED["tokens" if np.issubdtype(spec.dtype, np.integer) or len(spec.shape) < 4 else "pixels"]
    sizes = [
        size if isinstance(size, int) else known[axis] if len(known) == len(spec.shape) else usual
        for axis, size in enumerate(spec.shape)
    ]
    if 0 not in spec.dynamic_axes:
        best = largest = smallest = sizes
    else:
        top = batch_size or max(sizes[0] if known else 8, 1)
        smallest, best, largest = [1, *sizes[1:]], [top, *sizes[1:]], [batch_size or max(top, 32), *sizes[1:]]
    return ShapeRange(tuple(smallest), tuple(best), tuple(largest))

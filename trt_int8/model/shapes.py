"""Which shapes an engine is built for: those given, held against the inputs of the model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np

from trt_int8.errors import ShapeError
from trt_int8.model.inputs import InputSpec
from trt_int8.model.shape_range import GivenShapes, Shape, ShapeRange, Shapes
from trt_int8.model.shape_texts import as_shapes

#: Sizes to propose for axes about which nothing is known.
_PROPOSED = {"pixels": 224, "tokens": 128}


def resolve_shapes(
    specs: Mapping[str, InputSpec],
    shapes: GivenShapes | None = None,
    *,
    batch_size: int | None = None,
    seen: Callable[[], Mapping[str, Shape]] | None = None,
) -> dict[str, ShapeRange]:
    """A range of shapes for every input of a dynamic model; empty for a model of fixed shapes.

    Args:
        specs: the inputs of the model.
        shapes: ranges by input, however written (see `as_shapes`); a model whose only dynamic axis is the
            first needs none.
        batch_size: the opt and max batch where ``shapes`` says nothing (min is 1).
        seen: finds the shapes of the first batch of data, to propose them in a message.

    Raises:
        ShapeError: shapes are missing (the message holds what to add) or do not fit the model.
    """
    shapes = as_shapes(shapes)
    require_shapes_fit(specs, shapes)
    dynamic = [spec for spec in specs.values() if spec.dynamic_axes]
    if not dynamic:
        return {}
    missing = [spec for spec in dynamic if spec.name not in shapes]
    open_axes = [(spec, axis) for spec in missing for axis in spec.dynamic_axes if axis or batch_size is None]
    if open_axes:
        known = seen() if seen else {}
        proposals = {spec: _proposal(spec, batch_size, known) for spec in missing}
        example = ",".join(f"{spec.name}:{shape}" for spec, shape in proposals.items())
        renamed = " rename_dims=True" if _share_names(proposals) else ""
        raise ShapeError(
            f"{_dynamic_axes(open_axes)}; say which shapes to build for, min, opt and max "
            f"(TensorRT is fastest at opt), for instance: shapes='{example}'{renamed}"
        )
    resolved = dict(shapes)
    for spec in specs.values():
        if spec.name not in resolved:
            least = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
            most = tuple(size if isinstance(size, int) else batch_size or 1 for size in spec.shape)
            resolved[spec.name] = ShapeRange(min=least, opt=most, max=most)
    return {name: resolved[name] for name in specs}


def profile_text(shapes: Shapes) -> str:
    """Return an optimization profile in one line for people; empty for a model of fixed shapes.

    An input that has the same min, opt and max shape is listed with that one.

    Examples:
        >>> profile_text(as_shapes({"x": "1x3,8x3,8x3", "mask": "4"}))
        'x 1x3 … 8x3 … 8x3; mask 4 (min, opt, max)'
    """
    listed = []
    for name, each in shapes.items():
        texts = ["x".join(map(str, shape)) for shape in (each.min, each.opt, each.max)]
        listed.append(f"{name} {texts[0] if each.min == each.max else ' … '.join(texts)}")
    return f"{'; '.join(listed)} (min, opt, max)" if listed else ""


def require_shapes_fit(specs: Mapping[str, InputSpec], shapes: Shapes) -> None:
    """Hold shapes against the inputs of the model.

    Raises:
        ShapeError: shapes for what is no input, of another rank, or of other sizes on fixed axes.
    """
    for name in shapes:
        if name not in specs:
            near = difflib.get_close_matches(name, list(specs), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ShapeError(f"shapes are given for {name!r}, which is no input ({', '.join(specs)}){hint}")
    for name, given in shapes.items():
        _require_fit(specs[name], given)


def _require_fit(spec: InputSpec, given: ShapeRange) -> None:
    fits = len(given.opt) == len(spec.shape) and all(
        isinstance(want, str) or want == low == high
        for want, low, high in zip(spec.shape, given.min, given.max, strict=True)
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
            sizes.setdefault(str(spec.shape[axis]), set()).add(proposed.max[axis])
    return any(len(found) > 1 for found in sizes.values())


def _proposal(spec: InputSpec, batch_size: int | None, seen: Mapping[str, Shape]) -> ShapeRange:
    """Propose shapes: sizes of the data where it was seen, else usual ones."""
    known = seen.get(spec.name, ())
    usual = _PROPOSED["tokens" if np.issubdtype(spec.dtype, np.integer) or len(spec.shape) < 4 else "pixels"]
    sizes = [
        size if isinstance(size, int) else known[axis] if len(known) == len(spec.shape) else usual
        for axis, size in enumerate(spec.shape)
    ]
    if 0 not in spec.dynamic_axes:
        return ShapeRange(tuple(sizes), tuple(sizes), tuple(sizes))
    usual_batch = batch_size or max(sizes[0] if known else 8, 1)
    batches = (1, usual_batch, batch_size or max(usual_batch, 32))
    return ShapeRange(*((batch, *sizes[1:]) for batch in batches))

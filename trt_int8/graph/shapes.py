"""Read the shapes of an optimization profile, and check them against the inputs of the model.

`ShapeRange` has the min, opt and max shape of one input. `parse_shapes` reads
``x:1x3x224x224,8x3x224x224,32x3x224x224``; `resolve_shapes` completes the shapes for a model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from trt_int8.errors import ShapeError
from trt_int8.graph.inputs import InputSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """Min, opt and max shape of one input in an optimization profile.

    TensorRT optimizes for ``opt``, and calibration uses it.
    """

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        ranks = {len(shape) for shape in (self.min, self.opt, self.max)}
        if len(ranks) > 1:
            raise ShapeError(
                f"{self}: the shapes have {sorted(ranks)} axes; min, opt and max shape need the same number"
            )
        for axis, sizes in enumerate(zip(self.min, self.opt, self.max, strict=True)):
            if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
                raise ShapeError(
                    f"{self}: axis {axis} goes {' → '.join(map(str, sizes))}; give the min, opt and max "
                    "shape in this order, sizes from 1"
                )

    def __str__(self) -> str:
        return ",".join("x".join(map(str, shape)) for shape in (self.min, self.opt, self.max))


Shapes = Mapping[str, ShapeRange]
#: Shapes as an argument, see `trt_int8.graph.shapes.as_shapes`.
GivenShapes: TypeAlias = "str | Iterable[str] | Mapping[str, ShapeRange | str | Sequence[Any]]"
#: ``name:1x3x224x224``; the name may have colons, and quotes around it (as for trtexec) are dropped.
_NAMED = re.compile(r"(?P<quote>['\"]?)(?P<name>.+)(?P=quote):(?P<sizes>[^:]*)", re.DOTALL)
_FORMS = "write 'x:1x3x224x224,8x3x224x224,32x3x224x224', a list of such texts, or {input name: ShapeRange}"


def parse_shapes(texts: str | Iterable[str]) -> dict[str, ShapeRange]:
    """Read ``x:1x3x224x224,8x3x224x224,32x3x224x224``: min, opt and max shape of input ``x``.

    A single shape is all three. Several inputs are given as several texts, or in one text, as in trtexec's
    ``--shapes``.

    Examples:
        >>> str(parse_shapes(["x:1x3,8x3,32x3"])["x"])
        '1x3,8x3,32x3'
        >>> sorted(parse_shapes(["ids:1x128,mask:1x128"]))
        ['ids', 'mask']

    Raises:
        ShapeError: the text has another form, or names an input twice.
    """
    found: dict[str, list[Shape]] = {}
    for text in [texts] if isinstance(texts, str) else texts:
        if not isinstance(text, str):
            raise ShapeError(f"shapes hold {text!r}; {_FORMS}")
        for name, shapes in _named_shapes(text):
            if name in found:
                raise ShapeError(f"{text!r}: input {name!r} is given twice; give each input once")
            if len(shapes) not in (1, 3):
                raise ShapeError(
                    f"{text!r}: input {name!r} has {len(shapes)} shapes; give one, or three (min, opt, max): "
                    f"{name}:{'x'.join(map(str, shapes[0]))},…,…"
                )
            found[name] = shapes
    return {
        name: ShapeRange(shapes[0], shapes[len(shapes) // 2], shapes[-1]) for name, shapes in found.items()
    }


def as_shapes(given: GivenShapes | None) -> dict[str, ShapeRange]:
    """Convert shapes in any form to input name → `ShapeRange`.

    Args:
        given: one text or several, as for `parse_shapes`; or a mapping from input to a `ShapeRange`, a text
            (``"1x3,8x3,32x3"``), three shapes, or one shape for all three (``(8, 3)``).

    Examples:
        >>> as_shapes("x:8x3") == as_shapes(["x:8x3"]) == as_shapes({"x": "8x3"}) == as_shapes({"x": (8, 3)})
        True

    Raises:
        ShapeError: the form is none of these.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): _range(str(name), value) for name, value in given.items()}
    if isinstance(given, str | list | tuple) or hasattr(given, "__next__"):
        return parse_shapes(given)
    raise ShapeError(f"shapes are a {type(given).__name__}; {_FORMS}")


def combine_shapes(
    min_shapes: str | None = None, opt_shapes: str | None = None, max_shapes: str | None = None
) -> dict[str, ShapeRange]:
    """Read trtexec's ``--minShapes``, ``--optShapes`` and ``--maxShapes``, each ``a:1x3,b:1x4``.

    A missing text is taken from another: min and max from opt, opt from max, else from min.

    Examples:
        >>> str(combine_shapes(min_shapes="x:1x3", max_shapes="x:8x3")["x"])
        '1x3,8x3,8x3'

    Raises:
        ShapeError: a text has another form, or an input is missing in one of them.
    """
    opt = opt_shapes or max_shapes or min_shapes
    if opt is None:
        return {}
    parts = [_single_shapes(text) for text in (min_shapes or opt, opt, max_shapes or opt)]
    for part in parts:
        for name in parts[1]:
            if name not in part or len(part) != len(parts[1]):
                raise ShapeError(
                    f"the min, opt and max shapes name different inputs "
                    f"({'; '.join(', '.join(p) for p in parts)}); name the same ones in each"
                )
    return {name: ShapeRange(parts[0][name], parts[1][name], parts[2][name]) for name in parts[1]}


def _range(name: str, value: object) -> ShapeRange:
    if isinstance(value, ShapeRange):
        return value
    if isinstance(value, str):
        return parse_shapes(f"{name}:{value}")[name]
    if _is_shape(value):
        return ShapeRange(tuple(value), tuple(value), tuple(value))
    if isinstance(value, tuple | list) and len(value) == 3 and all(map(_is_shape, value)):
        return ShapeRange(*map(tuple, value))
    raise ShapeError(
        f"shapes[{name!r}] is {value!r}; give a ShapeRange, a text like '1x3,8x3,32x3', or one shape or "
        "three like (8, 3)"
    )


def _is_shape(value: object) -> TypeGuard[Sequence[int]]:
    return isinstance(value, tuple | list) and len(value) > 0 and all(type(size) is int for size in value)


def _named_shapes(text: str) -> Iterable[tuple[str, list[Shape]]]:
    entries: list[tuple[str, list[Shape]]] = []
    for item in text.split(","):
        named = _NAMED.fullmatch(item.strip())
        if named:
            entries.append((named["name"], [_sizes(named["sizes"], text)]))
        elif entries:
            entries[-1][1].append(_sizes(item, text))
        else:
            raise ShapeError(f"{text!r}: the name of the input is missing; write name:1x3x224x224")
    return entries


def _single_shapes(text: str) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for name, shapes in _named_shapes(text):
        if len(shapes) != 1 or name in found:
            raise ShapeError(f"{text!r}: input {name!r} has more than one shape; give one per input")
        found[name] = shapes[0]
    return found


def _sizes(text: str, whole: str) -> Shape:
    parts = text.strip().lower().split("x")
    if not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ShapeError(f"{whole!r:.200}: {text.strip()!r:.80} is not a shape; write sizes like 8x3x224x224")
    return tuple(map(int, parts))


#: Proposed sizes of unknown axes.
_PROPOSED = {"pixels": 224, "tokens": 128}


def resolve_shapes(
    specs: Mapping[str, InputSpec],
    shapes: GivenShapes | None = None,
    *,
    batch_size: int | None = None,
    seen: Callable[[], Mapping[str, Shape]] | None = None,
) -> dict[str, ShapeRange]:
    """Return the profile of every input of a dynamic model; empty for a model of fixed shapes.

    Args:
        specs: the inputs of the model.
        shapes: the profile in any form (see `as_shapes`); not needed if only the first axis is dynamic.
        batch_size: the opt and max batch of inputs that are not in ``shapes`` (min is 1).
        seen: returns the shapes of the first batch of data, which a message proposes.

    Raises:
        ShapeError: shapes are missing (the message has what to add) or do not fit the model.
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
            f"{_dynamic_axes(open_axes)}; give the min, opt and max shape (TensorRT is fastest at opt), for "
            f"instance: shapes={example!r}{renamed}"
        )
    resolved = dict(shapes)
    for spec in specs.values():
        if spec.name not in resolved:
            least = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
            most = tuple(size if isinstance(size, int) else batch_size or 1 for size in spec.shape)
            resolved[spec.name] = ShapeRange(min=least, opt=most, max=most)
    return {name: resolved[name] for name in specs}


def profile_text(shapes: Shapes) -> str:
    """Return an optimization profile as one line of text; empty for a model of fixed shapes.

    If an input's min, opt and max shape are the same, it is listed once.

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
    """Check shapes against the inputs of the model.

    Raises:
        ShapeError: a name is not an input, or a shape has another rank or other sizes on fixed axes.
    """
    for name in shapes:
        if name not in specs:
            near = difflib.get_close_matches(name, list(specs), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ShapeError(
                f"shapes: the model has no input {name!r}; its inputs are {', '.join(specs)}{hint}"
            )
    for name, given in shapes.items():
        spec = specs[name]
        if len(given.opt) != len(spec.shape) or not all(
            isinstance(want, str) or want == low == high
            for want, low, high in zip(spec.shape, given.min, given.max, strict=True)
        ):
            raise ShapeError(f"shapes {given} do not fit input {spec}; keep its axes and its fixed sizes")


def _dynamic_axes(axes: list[tuple[InputSpec, int]]) -> str:
    listed = [f"{spec.shape[axis]!r} (axis {axis})" for spec, axis in axes if spec is axes[0][0]]
    more = len({spec.name for spec, _ in axes}) - 1
    others = f" (and {more} more input{'s' if more > 1 else ''})" if more else ""
    return f"input {axes[0][0]} is dynamic in {', '.join(listed)}{others}"


def _share_names(proposals: Mapping[InputSpec, ShapeRange]) -> bool:
    """Return whether axes of one name would get different sizes, which needs `trt_int8.graph.dims`."""
    sizes: dict[str, set[int]] = {}
    for spec, proposed in proposals.items():
        for axis in spec.dynamic_axes:
            sizes.setdefault(str(spec.shape[axis]), set()).add(proposed.max[axis])
    return any(len(found) > 1 for found in sizes.values())


def _proposal(spec: InputSpec, batch_size: int | None, seen: Mapping[str, Shape]) -> ShapeRange:
    """Propose shapes: sizes of the first batch if known, else usual ones."""
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

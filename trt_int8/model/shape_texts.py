"""Shapes as people write them: ``x:1x3x224x224,8x3x224x224,32x3x224x224``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeGuard

from trt_int8.errors import ShapeError
from trt_int8.model.shape_range import GivenShapes, Shape, ShapeRange

#: ``name:1x3x224x224``; the name may hold colons, and quotes around it (as for trtexec) are dropped.
_NAMED = re.compile(r"^(?P<name>.+):(?P<sizes>[^:]*)$")
#: What to say to whoever gave something else.
_FORMS = "write 'x:1x3x224x224,8x3x224x224,32x3x224x224', a list of such texts, or {input name: ShapeRange}"


def parse_shapes(texts: str | Iterable[str]) -> dict[str, ShapeRange]:
    """Read ``x:1x3x224x224,8x3x224x224,32x3x224x224``: min, opt and max shape of input ``x``.

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
    """``given`` as ranges by input, however it was written.

    Args:
        given: one text or several, as for `parse_shapes`; or a mapping from input to a `ShapeRange`, to a
            text (``"1x3,8x3,32x3"``), to three shapes, or to one that stands for all three (``(8, 3)``).

    Examples:
        >>> as_shapes("x:8x3") == as_shapes(["x:8x3"]) == as_shapes({"x": "8x3"}) == as_shapes({"x": (8, 3)})
        True

    Raises:
        ShapeError: it is none of these.
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

    A text left out is taken from another: min and max from opt, opt from max, else from min.

    Examples:
        >>> str(combine_shapes(min_shapes="x:1x3", max_shapes="x:8x3")["x"])
        '1x3,8x3,8x3'

    Raises:
        ShapeError: a text does not read like that, or an input is missing in one of them.
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

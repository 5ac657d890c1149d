"""Open any source of data: arrays, images, or a Python function."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trt_int8.batches.arrays import open_arrays
from trt_int8.batches.batching import batched, prefetched
from trt_int8.batches.entry import call_entry, guarded, is_entry, top_level_functions
from trt_int8.batches.images import ImageSamples, find_images, means_images, open_images
from trt_int8.batches.items import as_batch, require_batches, shape_of
from trt_int8.batches.preprocess import preprocessing_for
from trt_int8.batches.samples import Samples
from trt_int8.choices import Last
from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec
from trt_int8.graph.shapes import GivenShapes, ShapeRange, Shapes, as_shapes
from trt_int8.printable import shell_word


@dataclass(frozen=True)
class ReadyBatches:
    """Batches that a Python function returned, for the inputs ``names``; messages call them ``place``."""

    batches: Iterable[object]
    names: tuple[str, ...]
    place: str


def open_data(
    source: str | os.PathLike[str],
    specs: Mapping[str, InputSpec],
    *,
    shapes: GivenShapes | None = None,
    **image_options: Any,
) -> Samples | ReadyBatches:
    """Open ``source`` for the inputs ``specs``.

    Args:
        source: an ``.npz`` or ``.npy`` file; a folder, pattern or file of images; or a Python function,
            ``file.py:function`` or ``package.module:function``.
        specs: the inputs of the model.
        shapes: the profile of dynamic inputs; images take the size of the opt shape.
        image_options: the arguments of `trt_int8.batches.preprocess.preprocessing_for`, and ``orientation``
            and ``skip_bad`` of `open_images`.

    Raises:
        DataError: there is no such source, or it does not fit the model.
    """
    source = os.fspath(source)
    _require_source(source)
    if is_entry(source):
        made = call_entry(source)
        if hasattr(made, "fetch") and hasattr(made, "__len__"):
            samples: Samples = made
            return samples
        if not hasattr(made, "__iter__") and not hasattr(made, "__getitem__"):
            raise DataError(
                f"{source}: returned a {type(made).__name__}; return an iterable of batches "
                f"{{input name: array}} with the inputs {', '.join(specs)}"
            )
        require_batches(made, specs, found=f"{source} returned")
        return ReadyBatches(made, tuple(specs), source)
    if means_images(source):
        return _open_images(source, specs, as_shapes(shapes), **image_options)
    return open_arrays(source, inputs=specs)


def batches_from(
    data: Samples | ReadyBatches,
    batch_size: int,
    *,
    last: Last = "keep",
    limit: int | None = None,
    shuffle: int | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Cut opened data into batches, see `trt_int8.batches.batched`; images are decoded ahead in threads.

    Raises:
        DataError: ``shuffle`` or ``last`` is given for ready batches.
    """
    if isinstance(data, ReadyBatches):
        if shuffle is not None or last != "keep":
            raise DataError(
                f"{data.place} returns finished batches, which cannot be shuffled, dropped or padded here; "
                "do it inside the function"
            )
        return _limited(data, limit)
    cut = batched(data, batch_size, last=last, limit=limit, shuffle=shuffle)
    return prefetched(cut) if isinstance(data, ImageSamples) else cut


def _limited(data: ReadyBatches, limit: int | None) -> Iterator[Mapping[str, Any]]:
    """Yield batches up to ``limit`` samples; the last batch is cut to fit."""
    left = limit
    for number, item in enumerate(guarded(data.place, data.batches)):
        batch = as_batch(item, data.names, place=f"{data.place}, batch {number}")
        if left is not None:
            shapes = {name: shape_of(array) for name, array in batch.items()}
            batch = {name: array[:left] if shapes[name] else array for name, array in batch.items()}
            left -= max((shape[0] for shape in shapes.values() if shape), default=1)
        yield batch
        if left is not None and left <= 0:
            return


def _require_source(source: str) -> None:
    if not source.strip():
        raise DataError(
            "the name of the data is empty; give a file, a folder, a pattern or file.py:function (check for "
            "an unset shell variable)"
        )
    if os.path.exists(source.rstrip(":")) and source.rstrip(":").endswith(".py"):
        source = source.rstrip(":")
        names = top_level_functions(source)
        first = names[0] if names else "function"
        listed = f" (it has: {', '.join(names)})" if len(names) > 1 else ""
        raise DataError(
            f"{source} does not name a function; write {shell_word(f'{source}:{first}')}{listed}; "
            "the function returns the batches"
        )
    file, colon, _ = source.rpartition(":")
    if colon and not os.path.exists(source) and not file.endswith(".py") and os.path.isfile(file):
        raise DataError(
            f"{source}: no such file; give {file} alone (the keys of an .npz are the names of the inputs)"
        )


def _open_images(
    source: str,
    specs: Mapping[str, InputSpec],
    shapes: Shapes,
    *,
    orientation: bool = True,
    skip_bad: bool = False,
    size: tuple[int, int] | None = None,
    layout: Any = None,
    **fields: Any,
) -> ImageSamples:
    if len(specs) != 1:
        raise DataError(
            f"{source}: images need a model with one input, and this one has {len(specs)} "
            f"({', '.join(specs)}); give an .npz with one key per input, or a function, file.py:function"
        )
    if not os.path.exists(source):
        find_images(source)  # a missing source is reported before missing preprocessing
    (spec,) = specs.values()
    if size is None and spec.name in shapes and len(spec.shape) == 4:
        opt = shapes[spec.name].opt
        spec = InputSpec(spec.name, spec.dtype, (spec.shape[0], *opt[1:]))
    preprocessing = preprocessing_for(spec, size=size, layout=layout, **fields)
    if size is not None and spec.name in shapes:
        _require_size_within(size, preprocessing.layout, spec.name, shapes[spec.name])
    return open_images(
        source, name=spec.name, preprocessing=preprocessing, orientation=orientation, skip_bad=skip_bad
    )


def _require_size_within(size: tuple[int, int], layout: str, name: str, shape: ShapeRange) -> None:
    first = 2 if layout == "nchw" else 1
    lows, highs = shape.min[first : first + 2], shape.max[first : first + 2]
    if not all(low <= side <= high for low, side, high in zip(lows, size, highs, strict=True)):
        raise DataError(
            f"size is {size[0]}x{size[1]}, but shapes={f'{name}:{shape}'!r} takes images from "
            f"{lows[0]}x{lows[1]} to {highs[0]}x{highs[1]}; omit size=, or change one of them"
        )

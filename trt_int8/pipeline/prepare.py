"""Read and check model, data, ranges, target and shapes once, before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from trt_int8.batches.check import Batch, first_shapes
from trt_int8.batches.holdout import SAMPLES, HoldOut
from trt_int8.batches.items import Batches, require_batches
from trt_int8.calibration.thresholds import method
from trt_int8.errors import QuantizationError
from trt_int8.graph.dims import rename_unequal_dims, require_equal_dims
from trt_int8.graph.inputs import has_batch_axis
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.shapes import Shapes, as_shapes, require_shapes_fit, resolve_shapes
from trt_int8.patterns import matching, nearest
from trt_int8.pipeline.options import Profile, QuantizationOptions
from trt_int8.quantization.half import check_half_options
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges, require_ranges
from trt_int8.target import Target, resolve_target

#: Samples held back if tensors are recentred: each candidate is evaluated on them.
RECENTRING_SAMPLES = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What the steps of the pipeline share.

    Attributes:
        model: the float model, read and checked, with its axes renamed if ``rename_dims`` is set.
        target: what the engine is for.
        placement: rules for Q/DQ pairs.
        selection: nodes that may be quantized, with the precision plan.
        options: the options, unchanged.
        shapes: the optimization profile; empty for a model of fixed shapes.
        data: the samples, some of them held back; None without samples.
        ranges: dynamic ranges that were given; None to calibrate.
    """

    model: Model
    target: Target
    placement: Placement
    selection: Selection
    options: QuantizationOptions
    shapes: Shapes
    data: HoldOut | None
    ranges: Ranges | None


def prepare(
    model: ModelLike,
    *,
    batches: Batches | None = None,
    ranges: Ranges | None = None,
    target: str | Target | None = None,
    options: QuantizationOptions | None = None,
    profile: Profile | None = None,
    for_engine: bool = False,
    for_calibrator: bool = False,
    convert: Callable[[Batch], Batch] | None = None,
) -> Prepared:
    """Read the model, resolve target and shapes, divide the samples, and check that all of it fits together.

    Args:
        model: the trained float model, or one with Q/DQ nodes.
        batches, ranges, target, options, profile: see `trt_int8.build_engine`.
        for_engine: an engine is built, so each dynamic input needs shapes.
        for_calibrator, convert: TensorRT's calibrator reads the samples; see `HoldOut`.

    Raises:
        ModelError: the model cannot be read.
        DataError: ``batches`` is not an iterable of batches.
        TypeError: ``ranges`` is not `Ranges`.
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        ValueError: there is no such algorithm or float type.
        QuantizationError: the precision plan was searched for another placement, the float types do not fit
            together, or a pattern of ``recentred`` matches no tensor.
        BuildError: there is no such target.
    """
    options, profile = options or QuantizationOptions(), profile or Profile()
    if ranges is not None:
        require_ranges(ranges)
    chosen = resolve_target(target)
    placement = resolve(chosen.placement if options.placement is None else options.placement)
    plan = options.plan or options.selection.plan
    if plan is not None:
        plan.require_placement(placement.text)
    known = Model.of(model)
    _check_options(options, known)
    specs, divisible = known.inputs, has_batch_axis(known.proto)
    if batches is not None:
        require_batches(batches, specs)
    if for_engine:
        first = partial(first_shapes, () if batches is None else batches, specs)
        shapes = resolve_shapes(specs, profile.shapes, batch_size=profile.batch_size, seen=first)
    else:
        shapes = as_shapes(profile.shapes)
        require_shapes_fit(specs, shapes)
    if profile.rename_dims:
        renamed = rename_unequal_dims(known.proto, shapes)
        known = known if renamed is known.proto else Model(renamed, known.path)
    if for_engine:
        require_equal_dims(known.proto, shapes)
    data = None
    if batches is not None:
        samples = RECENTRING_SAMPLES if options.recentred else SAMPLES
        data = HoldOut(
            batches,
            specs,
            shapes=shapes,
            samples=samples,
            divisible=divisible,
            for_calibrator=for_calibrator,
            convert=convert,
        )
    return Prepared(
        model=known,
        target=chosen,
        placement=placement,
        selection=replace(options.selection, plan=plan),
        options=options,
        shapes=shapes,
        data=data,
        ranges=ranges,
    )


def _check_options(options: QuantizationOptions, model: Model) -> None:
    """Check the words and names that later steps take."""
    if options.algorithm is not None:
        method(options.algorithm)
    check_half_options(options.high_precision, options.scale_dtype, half=model.holds_half)
    for glob in options.recentred:
        if not matching(glob, model.index.order):
            near = nearest(glob, model.index.order)
            raise QuantizationError(f"recentred={glob!r} matches no tensor; {near}")

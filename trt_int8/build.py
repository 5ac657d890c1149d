"""The whole chain in one call: calibrate → quantize → build → report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from trt_int8 import atomic
from trt_int8.batches.items import Batches, require_batches
from trt_int8.batches.shapes import first_shapes, within
from trt_int8.build_checks import check_files, check_sources, check_types, refuse_implicit_only
from trt_int8.calibration.calibration import Calibration
from trt_int8.counts import require_count
from trt_int8.engine.explicit import Plan, build_explicit, default_log
from trt_int8.engine.log import BuildLog
from trt_int8.errors import BuildError
from trt_int8.from_data import quantize_from_data
from trt_int8.implicit.build import build_implicit
from trt_int8.implicit.callbacks import CalibratorCallbacks
from trt_int8.implicit.fingerprint import Fingerprint
from trt_int8.implicit.options import ImplicitOptions
from trt_int8.implicit.route import Mode, Route, choose_route
from trt_int8.implicit.summary import CalibrationSummary
from trt_int8.model.dims import rename_unequal_dims, require_equal_dims
from trt_int8.model.graph import label
from trt_int8.model.inputs import input_specs
from trt_int8.model.load import load_model, require_model
from trt_int8.model.qdq import has_qdq
from trt_int8.model.shape_range import GivenShapes
from trt_int8.model.shapes import resolve_shapes
from trt_int8.quantization.placement import Placement, placement_for
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges
from trt_int8.report import PrecisionReport
from trt_int8.streamer.device import Device

_logger = logging.getLogger("trt_int8")


@dataclass(frozen=True, eq=False)
class BuildResult:
    """What `build_engine` made.

    Attributes:
        engine: the engine file.
        log: the verbose log TensorRT wrote while building.
        plan: the engine itself, its target and what built it.
        route: ``explicit``: INT8 was asked for by Q/DQ nodes; ``implicit``: TensorRT chose the layers.
        reason: why this route.
        report: which layers run in INT8, read from the log.
        calibration: on the CPU, of the tensors that are quantized; None if the ranges were given, the model
            held Q/DQ nodes, or TensorRT
            calibrated.
        quantized: None if the model held Q/DQ nodes already, or the route is implicit.
        summary: what became of TensorRT's calibration; None if there was none.
        fingerprint: what TensorRT's calibration was made from; None if there was none.
    """

    engine: Path
    log: Path
    plan: Plan
    route: str
    reason: str
    report: PrecisionReport
    calibration: Calibration | None
    quantized: Quantized | None
    summary: CalibrationSummary | None = None
    fingerprint: Fingerprint | None = None


def build_engine(
    model: onnx.ModelProto | str | os.PathLike[str],
    engine: str | os.PathLike[str],
    *,
    batches: Batches | None = None,
    ranges: Ranges | None = None,
    algorithm: str | None = None,
    mode: Mode = "auto",
    target: str | None = None,
    log: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    shapes: GivenShapes | None = None,
    rename_dims: bool = False,
    implicit: ImplicitOptions | None = None,
    plan: PrecisionPlan | None = None,
    cache: str | os.PathLike[str] | None = None,
    reuse_cache: bool = False,
    device: Device | None = None,
    placement: str | Placement | None = None,
    bias_correction: bool | None = None,
    tell: Callable[[str], None] = _logger.info,
) -> BuildResult:
    """Build an INT8 engine and report which layers got INT8.

    A model with Q/DQ nodes is built as it is. Any other needs ``batches`` to calibrate with, or
    ``ranges``. The engine file appears only after a successful build, whole, and its log with it; the log
    of a failed build is kept as ``….failed``.

    Examples:
        >>> import numpy as np
        >>> images = np.load("samples.npy")
        >>> result = build_engine("model.onnx", "model.engine", batches=[i[None] for i in images])
        >>> len(result.report.last.int8_layers)
        4

    Args:
        model: trained float model, or one with Q/DQ nodes.
        engine: file for the engine.
        batches: calibration data, any iterable of ``{input name: array}``, tuples or arrays (see
            `trt_int8.batches.items.as_batch`).
        ranges: dynamic ranges instead of data (`CalibrationCache.read(…).ranges()`).
        algorithm: calibration algorithm; None: ``mse`` for Q/DQ nodes, ``entropy`` for TensorRT to calibrate.
        mode: ``explicit`` (Q/DQ nodes), ``implicit`` (TensorRT's calibrators, up to TensorRT 10), or
            ``auto``: see `trt_int8.implicit.route`.
        target: ``sm75`` …, or ``current`` for the GPU in this machine; None: `TensorRT.default_target`.
        log: file for TensorRT's verbose log; None puts it beside the engine, as ``.log``.
        batch_size: the largest batch, for models whose first axis is dynamic.
        shapes: smallest, best and largest shape of each dynamic input: a text or a list of them, as for
            `trt_int8.parse_shapes`, or ``{input name: ShapeRange}``.
        rename_dims: give axes that share a symbolic name, and get different sizes, names of their own.
        implicit: what the builder may do on the implicit route.
        plan: which nodes to keep in float. The explicit route inserts no pairs there; the implicit one
            constrains those layers to FP16 where that is allowed, else to FP32.
        cache: calibration cache of the implicit route; it is used if it fits model and data, else written.
        reuse_cache: use that cache whatever it was made from.
        device: where the implicit route's calibrator puts batches, see `trt_int8.streamer.device`.
        placement: where Q/DQ pairs go on the explicit route, see `trt_int8.quantization.quantize`; None: what
            fits the TensorRT that builds.
        bias_correction: take what quantization shifts means by out of the biases, where that helps on samples
            that it was not measured on (`trt_int8.remedies.first`). None: on the explicit route, with
            ``batches``.
        tell: gets lines for people while the build goes on.

    Raises:
        ValueError: both or neither of ``batches`` and ``ranges`` for a float model.
        TypeError: ``ranges`` is no `Ranges`, ``batch_size`` no whole number, and so on.
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        BuildError: TensorRT refused the model; carries its lines.
        TrtInt8Error: anything else that fails on the way; see `trt_int8.errors`.
    """
    require_count(batch_size, "batch_size")
    check_types(engine, log, ranges, implicit, plan)
    require_model(model)
    engine = Path(engine)
    log_path = default_log(engine) if log is None else Path(log)
    options = implicit or ImplicitOptions()
    check_files(model, engine, log_path, cache, options)
    loaded = load_model(model)
    check_sources(loaded, batches, ranges, options, placement=placement, algorithm=algorithm)
    if plan is not None and has_qdq(loaded):
        raise BuildError(
            "the model holds Q/DQ nodes, which say what runs in INT8; leave out the precision plan"
        )
    route = choose_route(mode, has_qdq=has_qdq(loaded), algorithm=algorithm or "entropy", target=target)
    target = route.tensorrt.resolve_target(target)
    tell(f"route: {route.name} ({route.reason})")
    specs = input_specs(loaded)
    if batches is not None:
        require_batches(batches, specs)
    shapes = resolve_shapes(
        specs,
        shapes or options.shapes,
        batch_size=batch_size or options.batch_size,
        seen=lambda: first_shapes(batches or (), specs),
    )
    if rename_dims:
        loaded = rename_unequal_dims(loaded, shapes)
    require_equal_dims(loaded, shapes)
    if batches is not None:
        batches = within(shapes, batches, specs)
    if route.name == "implicit":
        if bias_correction:
            raise BuildError(
                "bias_correction: only the explicit route has Q/DQ nodes to correct biases by, and this "
                f"build takes the implicit one ({route.reason})"
            )
        options = _with_plan(options, plan, loaded)
        options = replace(options, shapes=shapes, ranges=[*([ranges] if ranges else []), *options.ranges])
        calibrator = None
        if batches is None and (cache is not None or reuse_cache):
            raise BuildError(
                f"the calibration cache {cache} is for a build that calibrates, and there are no batches "
                "(--data); to build from the scales in a file, give it as dynamic ranges (--cache, --ranges)"
            )
        if batches is not None:
            from trt_int8.implicit import EntropyCalibrator, MinMaxCalibrator  # imports TensorRT

            kind = MinMaxCalibrator if algorithm == "minmax" else EntropyCalibrator
            calibrator = kind(batches, cache=cache, reuse_cache=reuse_cache, device=device, model=model)
        return _implicit(loaded, engine, log_path, route, calibrator, options, tell)
    if bias_correction and batches is None:
        raise BuildError("bias_correction: means are measured on batches (--data), and there are none")
    refuse_implicit_only(route, cache, reuse_cache, replace(options, shapes=None, batch_size=None))
    rules = placement_for(route.tensorrt.flavor) if placement is None else placement
    selection = Selection(plan=plan)
    calibration, quantized = None, None
    if batches is not None:
        made = quantize_from_data(
            loaded,
            batches,
            algorithm=algorithm,
            placement=rules,
            selection=selection,
            bias_correction=bias_correction is not False,
            tell=tell,
        )
        calibration, quantized = made.calibration, made.quantized
    elif ranges is not None:
        quantized = quantize(loaded, ranges, placement=rules, selection=selection)
    with BuildLog(log_path) as record:
        built = build_explicit(
            loaded if quantized is None else quantized.model,
            tensorrt=route.tensorrt,
            log=record,
            target=target,
            shapes=shapes,
        )
        atomic.write_bytes(engine, built.data)
    report = PrecisionReport.from_log(log_path)
    return BuildResult(engine, log_path, built, route.name, route.reason, report, calibration, quantized)


def _implicit(
    model: onnx.ModelProto,
    engine: Path,
    log: Path,
    route: Route,
    calibrator: CalibratorCallbacks | None,
    options: ImplicitOptions,
    tell: Callable[[str], None],
) -> BuildResult:
    with BuildLog(log) as record:
        plan = build_implicit(
            model, tensorrt=route.tensorrt, log=record, calibrator=calibrator, options=options, tell=tell
        )
        atomic.write_bytes(engine, plan.data)
    report = PrecisionReport.from_log(log)
    summary = None if calibrator is None else calibrator.summary()
    fingerprint = None if calibrator is None else calibrator.fingerprint
    return BuildResult(engine, log, plan, route.name, route.reason, report, None, None, summary, fingerprint)


def _with_plan(
    options: ImplicitOptions, plan: PrecisionPlan | None, model: onnx.ModelProto
) -> ImplicitOptions:
    """``options`` that keep the plan's float nodes out of INT8; layers are called what the nodes are."""
    if plan is None:
        return options
    plan.check([label(node) for node in model.graph.node])
    floats = [name for name, precision in plan.nodes.items() if precision == "float"]
    if options.fp16:
        return replace(options, keep_fp16=[*options.keep_fp16, *floats])
    return replace(options, keep_fp32=[*options.keep_fp32, *floats])

"""Build an engine from a model and samples in one call, with its record and its report."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from trt_int8.arguments import require_path
from trt_int8.batches.items import Batches
from trt_int8.calibration.calibration import Calibration
from trt_int8.choices import Mode
from trt_int8.engine.builder import SerializedEngine
from trt_int8.engine.explicit import build_explicit
from trt_int8.engine.implicit.build import ImplicitOptions, build_implicit
from trt_int8.engine.implicit.callbacks import CalibrationSummary, CalibratorCallbacks
from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.engine.log import BuildLog, append_line, default_log
from trt_int8.engine.route import ChosenRoute, choose_route
from trt_int8.errors import BuildError
from trt_int8.files.places import FilePath, is_stream
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.save import save_like, staged_like
from trt_int8.graph.shapes import profile_text
from trt_int8.pipeline.checks import check_files, check_records, check_route, check_sources
from trt_int8.pipeline.implicit_accuracy import simulate
from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.pipeline.prepare import Prepared, prepare
from trt_int8.pipeline.quantize import WARNING, Tell, log_info, quantize_prepared, warn_of_budget
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges
from trt_int8.record import RECORD_KEY, QuantizationRecord, require_readable
from trt_int8.report import PrecisionReport
from trt_int8.target import Target


@dataclass(frozen=True, eq=False)
class BuildResult:
    """The result of `build_engine`.

    Attributes:
        engine: the engine file.
        log: the file with TensorRT's verbose log.
        serialized_engine: the engine itself, its target and what built it.
        route: ``explicit`` (Q/DQ nodes set what runs in INT8) or ``implicit`` (TensorRT chose the layers).
        reason: why this route was taken.
        report: which layers run in INT8, read from the log.
        record: how the model was quantized and its SQNR; None for a Q/DQ model without a record.
        qdq: the Q/DQ model that was built, or on the implicit route the one that simulates the engine; None
            if that could not be made.
        calibration: calibration on the CPU; None if there was none.
        quantized: the nodes and scales of the explicit route; None if the model already had Q/DQ nodes.
        summary, fingerprint: result and inputs of TensorRT's calibration; None if there was none.
    """

    engine: Path
    log: Path
    serialized_engine: SerializedEngine
    route: str
    reason: str
    report: PrecisionReport
    record: QuantizationRecord | None = None
    qdq: onnx.ModelProto | None = None
    calibration: Calibration | None = None
    quantized: Quantized | None = None
    summary: CalibrationSummary | None = None
    fingerprint: Fingerprint | None = None


def build_engine(
    model: ModelLike,
    engine: str | os.PathLike[str],
    *,
    batches: Batches | None = None,
    ranges: Ranges | None = None,
    target: str | Target | None = None,
    mode: Mode = "auto",
    options: QuantizationOptions | None = None,
    calibration: CalibrationOptions | None = None,
    profile: Profile | None = None,
    implicit: ImplicitOptions | None = None,
    log: str | os.PathLike[str] | None = None,
    qdq: str | os.PathLike[str] | None = None,
    tell: Tell = log_info,
) -> BuildResult:
    """Build an INT8 engine, measure its accuracy, and report which layers run in INT8.

    A model with Q/DQ nodes is built unchanged. A float model needs ``batches`` or ``ranges``. The engine and
    its log appear only after a successful build; the log of a failed build is kept as ``….failed``.

    Examples:
        >>> import numpy as np
        >>> images = np.load("samples.npy")
        >>> result = build_engine("model.onnx", "model.engine", batches=[i[None] for i in images])
        >>> len(result.report.last.int8_layers)
        4
        >>> result.record.worst_db > 20
        True

    Args:
        model: the trained float model, or one with Q/DQ nodes.
        engine: file for the engine.
        batches: samples for calibration and evaluation; any iterable of ``{input name: array}``, tuples or
            arrays (see `trt_int8.batches.items.as_batch`).
        ranges: dynamic ranges (`CalibrationCache.read(…).ranges()`). If ``batches`` are given too, they are
            used only for corrections and evaluation.
        target: what to build for, see `trt_int8.target.resolve_target`; None: TensorRT if it is installed and
            there is a GPU, else ``rtx:sm89``.
        mode: ``explicit`` (Q/DQ nodes), ``implicit`` (TensorRT's calibrators, up to TensorRT 10), or
            ``auto``: see `trt_int8.engine.route`.
        options: what is quantized and how. The implicit route uses only the algorithm and the plan.
        calibration: how calibration on the CPU runs.
        profile: the optimization profile, for dynamic models.
        implicit: options of the implicit route.
        log: file for TensorRT's verbose log; None: ``<engine>.log``.
        qdq: file for the Q/DQ model, ``BuildResult.qdq``.
        tell: function that gets lines for people during the build.

    Raises:
        ValueError: a float model without ``batches`` and ``ranges``.
        TypeError: an argument is of the wrong kind.
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        BuildError: TensorRT rejected the model; has TensorRT's error lines.
        TrtInt8Error: a step failed; see `trt_int8.errors`.
    """
    require_path(engine, "engine", of="the engine to write")
    if log is not None:
        require_path(log, "log", of="the log to write")
    check_records(options=options, calibration=calibration, profile=profile, implicit=implicit)
    options, implicit = options or QuantizationOptions(), implicit or ImplicitOptions()
    engine = Path(engine)
    log = default_log(engine) if log is None else Path(log)
    check_files(model, engine, log, qdq, implicit)
    known = Model.of(model)
    check_sources(known, batches, ranges, options, implicit)
    route = choose_route(mode, has_qdq=known.has_qdq, algorithm=options.algorithm or "entropy", target=target)
    check_route(route, options, implicit)
    prepared = prepare(
        known,
        batches=batches,
        ranges=ranges,
        target=route.tensorrt.target(route.target),
        options=options,
        profile=profile,
        for_engine=True,
        for_calibrator=route.name == "implicit",
        convert=getattr(implicit.device, "on_host", None),
    )
    tell(route.target.text)
    tell(f"route: {route.name} ({route.reason})")
    if prepared.shapes:
        tell(f"optimization profile: {profile_text(prepared.shapes)}")
    job = _Job(prepared, route, engine, log, tell, qdq)
    result = _build_implicit(job, implicit) if route.name == "implicit" else _build_explicit(job, calibration)
    return result


@dataclass(frozen=True, eq=False)
class _Job:
    """What both routes need."""

    prepared: Prepared
    route: ChosenRoute
    engine: Path
    log: Path
    tell: Tell
    qdq: FilePath | None

    def result(self, built: SerializedEngine, **found: Any) -> BuildResult:
        """Return the result, with the fields ``found`` that depend on the route."""
        return BuildResult(
            engine=self.engine,
            log=self.log,
            serialized_engine=built,
            route=self.route.name,
            reason=self.route.reason,
            report=PrecisionReport.from_log(self.log),
            **found,
        )


def _build_explicit(job: _Job, calibration: CalibrationOptions | None) -> BuildResult:
    prepared, made = job.prepared, None
    if prepared.model.has_qdq:
        model = prepared.model.proto
        record = _told_record(model, prepared.target, job.tell)
    else:
        made = quantize_prepared(prepared, calibration=calibration, tell=job.tell)
        model, record = made.model, made.record
    with BuildLog(job.log) as lines:
        built = build_explicit(
            model, tensorrt=job.route.tensorrt, log=lines, target=prepared.target, shapes=prepared.shapes,
            record=None if record is None else record.to_json(),
        )  # fmt: skip
        with ExitStack() as stack:
            others = []
            if job.qdq is not None and not is_stream(job.qdq):
                others = [stack.enter_context(staged_like(model, job.qdq, source=prepared.model.path))]
            lines.publish(job.engine, built.data, *others)
    if job.qdq is not None and is_stream(job.qdq):
        save_like(model, job.qdq, source=prepared.model.path)
    calibrated, quantized = (None, None) if made is None else (made.calibration, made.quantized)
    return job.result(built, record=record, qdq=model, calibration=calibrated, quantized=quantized)


def _told_record(model: onnx.ModelProto, target: Target, tell: Tell) -> QuantizationRecord | None:
    """Tell and return the record of a Q/DQ model, and warn if its pairs were placed for another target."""
    try:
        record = require_readable(model)
    except ValueError as error:
        tell(
            f"{WARNING}the metadata {RECORD_KEY} of the model cannot be read ({error}), so it is not known "
            f"whether its Q/DQ pairs were placed for target {target.name}; use the version of trt_int8 that "
            "wrote it, or quantize the float model again"
        )
        return None
    if record is None:
        return None
    tell(f"recorded when the model was quantized: {record.text}")
    if record.placement.split(" ")[0] != target.placement:
        tell(
            f"{WARNING}the Q/DQ pairs have placement {record.placement} (quantized for target "
            f"{record.target}), but this build is for target {target.name}, which needs placement "
            f"{target.placement}; quantize the float model again with this target and placement"
        )
    return record


def _build_implicit(job: _Job, implicit: ImplicitOptions) -> BuildResult:
    prepared = job.prepared
    allowed = _with_plan(implicit, prepared.selection.plan, prepared.model.index)
    given = [] if prepared.ranges is None else [prepared.ranges]
    allowed = replace(allowed, shapes=prepared.shapes, ranges=[*given, *allowed.ranges])
    calibrator = _calibrator(prepared, implicit)
    with BuildLog(job.log) as lines:
        built = build_implicit(
            prepared.model.proto,
            tensorrt=job.route.tensorrt,
            log=lines,
            calibrator=calibrator,
            options=allowed,
            tell=job.tell,
        )
        lines.publish(job.engine, built.data)
    summary = None if calibrator is None else calibrator.summary()
    # The engine and its log are in place: an interrupt from here on loses neither.
    simulated = simulate(
        prepared,
        log=job.log,
        scales=None if calibrator is None else calibrator.scales(),
        hand_set=built.hand_set,
        summary=summary,
        fp16=allowed.fp16,
    )
    append_line(job.log, "I", f"trt_int8: record {simulated.record.to_json()}")
    job.tell(simulated.record.text)
    warn_of_budget(prepared, simulated.record, job.tell)
    if job.qdq is not None:
        if simulated.model is None:
            raise BuildError(
                f"the engine {job.engine} is built, but no Q/DQ model simulates it, so {job.qdq} is not "
                f"written: {simulated.record.note}"
            )
        save_like(simulated.model, job.qdq, source=prepared.model.path)
    fingerprint = None if calibrator is None else calibrator.fingerprint
    return job.result(
        built, record=simulated.record, qdq=simulated.model, summary=summary, fingerprint=fingerprint
    )


def _calibrator(prepared: Prepared, implicit: ImplicitOptions) -> CalibratorCallbacks | None:
    if prepared.data is None:
        if implicit.cache is not None or implicit.reuse_cache:
            raise BuildError(
                f"cache: the calibration cache {implicit.cache} needs calibration data (batches=); to use "
                "the scales of an existing cache, give it as dynamic ranges (ranges=)"
            )
        return None
    from trt_int8.engine.implicit import EntropyCalibrator, MinMaxCalibrator  # imports TensorRT

    kind = MinMaxCalibrator if prepared.options.algorithm == "minmax" else EntropyCalibrator
    made: CalibratorCallbacks = kind(
        prepared.data,
        cache=implicit.cache,
        reuse_cache=implicit.reuse_cache,
        device=implicit.device,
        model=prepared.model.path or prepared.model.proto,  # a file is hashed with its external data
    )
    return made


def _with_plan(implicit: ImplicitOptions, plan: PrecisionPlan | None, index: GraphIndex) -> ImplicitOptions:
    """Add the plan's float nodes to the layers that stay out of INT8; a layer has the name of its node."""
    if plan is None:
        return implicit
    plan.check([label(node) for node in index.graph.node])
    floats = [name for name, precision in plan.nodes.items() if precision == "float"]
    if implicit.fp16:
        return replace(implicit, keep_fp16=[*implicit.keep_fp16, *floats])
    return replace(implicit, keep_fp32=[*implicit.keep_fp32, *floats])

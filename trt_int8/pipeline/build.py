"""`build_engine`: the whole chain in one call, from a model and samples to an engine and its report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

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
from trt_int8.engine.implicit.store import CacheStore
from trt_int8.engine.log import BuildLog, append_line, default_log, require_regular
from trt_int8.engine.route import ChosenRoute, choose_route
from trt_int8.errors import BuildError
from trt_int8.files import atomic
from trt_int8.files.outputs import FilePath, check_outputs
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.load import require_model
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.save import save_like
from trt_int8.graph.shapes import profile_text
from trt_int8.pipeline.implicit_accuracy import simulate
from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.pipeline.prepare import Prepared, prepare
from trt_int8.pipeline.quantize import quantize_prepared
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges
from trt_int8.record import QuantizationRecord, read_record
from trt_int8.report import PrecisionReport
from trt_int8.target import Target

_logger = logging.getLogger("trt_int8")

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class BuildResult:
    """The result of `build_engine`.

    Attributes:
        engine: the engine file.
        log: the verbose log that TensorRT wrote while building.
        serialized_engine: the engine itself, its target and what built it.
        route: ``explicit``: Q/DQ nodes asked for INT8; ``implicit``: TensorRT chose the layers.
        reason: why this route was taken.
        report: which layers run in INT8, read from the log.
        record: how the model was quantized, and what it loses; None for a Q/DQ model that has no record.
        qdq: the Q/DQ model that was built, or on the implicit route the one that the engine amounts to; None
            where that could not be made.
        calibration: on the CPU, of the tensors that are quantized; None if the ranges were given, the model
            held Q/DQ nodes, or TensorRT calibrated.
        quantized: None if the model held Q/DQ nodes already, or the route is implicit.
        summary: what became of TensorRT's calibration; None if there was none.
        fingerprint: what TensorRT's calibration was made from; None if there was none.
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
    tell: Tell = _logger.info,
) -> BuildResult:
    """Build an INT8 engine, measure what it loses, and report which layers got INT8.

    A model with Q/DQ nodes is built as it is. Any other needs ``batches`` to calibrate with, or ``ranges``.
    The engine file appears only after a successful build, whole, and its log with it; the log of a failed
    build is kept as ``….failed``.

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
        batches: samples to calibrate and to judge with; any iterable of ``{input name: array}``, tuples or
            arrays (see `trt_int8.batches.items.as_batch`).
        ranges: dynamic ranges (`CalibrationCache.read(…).ranges()`). With ``batches`` besides, these correct
            and judge only.
        target: what to build for, see `trt_int8.target.resolve_target`; None: TensorRT where it is installed
            and there is a GPU, else ``rtx:sm89``.
        mode: ``explicit`` (Q/DQ nodes), ``implicit`` (TensorRT's calibrators, up to TensorRT 10), or
            ``auto``: see `trt_int8.engine.route`.
        options: what is quantized and how. On the implicit route, of these, the algorithm and the plan.
        calibration: how calibration on the CPU runs.
        profile: the optimization profile, for dynamic models.
        implicit: what the builder may do on the implicit route, and its calibration cache.
        log: file for TensorRT's verbose log; None puts it beside the engine, as ``.log``.
        qdq: file for the Q/DQ model that is built.
        tell: gets lines for people while the build goes on.

    Raises:
        ValueError: neither ``batches`` nor ``ranges`` for a float model.
        TypeError: an argument is of the wrong kind.
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        BuildError: TensorRT refused the model; carries its lines.
        TrtInt8Error: anything else that fails on the way; see `trt_int8.errors`.
    """
    require_path(engine, "engine", of="the engine to write")
    if log is not None:
        require_path(log, "log", of="the log to write")
    _check_records(options, calibration, profile, implicit)
    options, implicit = options or QuantizationOptions(), implicit or ImplicitOptions()
    engine_path = Path(engine)
    log_path = default_log(engine_path) if log is None else Path(log)
    _check_files(model, engine_path, log_path, qdq, implicit)
    known = Model.of(model)
    _check_sources(known, batches, ranges, options, implicit)
    route = choose_route(mode, has_qdq=known.has_qdq, algorithm=options.algorithm or "entropy", target=target)
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
    if route.name == "implicit":
        result = _build_implicit(prepared, route, engine_path, log_path, implicit, tell)
    else:
        _refuse_implicit_only(route, implicit)
        result = _build_explicit(prepared, route, engine_path, log_path, calibration, tell)
    if qdq is not None:
        if result.qdq is None:
            raise BuildError(
                f"the engine {engine} is built, but no Q/DQ model can be made that amounts to it, so {qdq} "
                f"is not written: {'' if result.record is None else result.record.note}"
            )
        save_like(result.qdq, qdq, source=known.path)
    return result


def _build_explicit(
    prepared: Prepared,
    route: ChosenRoute,
    engine: Path,
    log: Path,
    calibration: CalibrationOptions | None,
    tell: Tell,
) -> BuildResult:
    made = None
    if prepared.model.has_qdq:
        model, record = prepared.model.proto, read_record(prepared.model.proto)
        for line in _lines_on_record(record, prepared):
            tell(line)
    else:
        made = quantize_prepared(prepared, calibration=calibration, tell=tell)
        model, record = made.model, made.record
    with BuildLog(log) as lines:
        if record is not None:
            lines.add("I", f"trt_int8: record {record.to_json()}")
        built = build_explicit(
            model, tensorrt=route.tensorrt, log=lines, target=prepared.target, shapes=prepared.shapes
        )
        atomic.write_bytes(engine, built.data)
    return BuildResult(
        engine=engine,
        log=log,
        serialized_engine=built,
        route=route.name,
        reason=route.reason,
        report=PrecisionReport.from_log(log),
        record=record,
        qdq=model,
        calibration=None if made is None else made.calibration,
        quantized=None if made is None else made.quantized,
    )


def _build_implicit(
    prepared: Prepared,
    route: ChosenRoute,
    engine: Path,
    log: Path,
    implicit: ImplicitOptions,
    tell: Tell,
) -> BuildResult:
    asked = [name for name in prepared.options.asked_for() if name not in ("algorithm", "plan")]
    if asked:
        raise BuildError(
            f"{', '.join(asked)}: only the explicit route has Q/DQ nodes to place and to correct, and this "
            f"build takes the implicit one ({route.reason})"
        )
    allowed = _with_plan(implicit, prepared.selection.plan, prepared.model.index)
    given = [] if prepared.ranges is None else [prepared.ranges]
    allowed = replace(allowed, shapes=prepared.shapes, ranges=[*given, *allowed.ranges])
    calibrator = _calibrator(prepared, implicit)
    with BuildLog(log) as lines:
        built = build_implicit(
            prepared.model.proto,
            tensorrt=route.tensorrt,
            log=lines,
            calibrator=calibrator,
            options=allowed,
            tell=tell,
        )
        atomic.write_bytes(engine, built.data)
    # With engine and log in place: whoever stops this keeps both.
    simulated = simulate(
        prepared,
        log=log,
        scales=None if calibrator is None else calibrator.scales(),
        hand_set=built.hand_set,
        from_cache=calibrator is not None and calibrator.summary().source == "cache",
        fp16=allowed.fp16,
    )
    append_line(log, "I", f"trt_int8: record {simulated.record.to_json()}")
    tell(simulated.record.text)
    return BuildResult(
        engine=engine,
        log=log,
        serialized_engine=built,
        route=route.name,
        reason=route.reason,
        report=PrecisionReport.from_log(log),
        record=simulated.record,
        qdq=simulated.model,
        summary=None if calibrator is None else calibrator.summary(),
        fingerprint=None if calibrator is None else calibrator.fingerprint,
    )


def _calibrator(prepared: Prepared, implicit: ImplicitOptions) -> CalibratorCallbacks | None:
    if prepared.data is None:
        if implicit.cache is not None or implicit.reuse_cache:
            raise BuildError(
                f"cache: the calibration cache {implicit.cache} is for a build that calibrates, and there "
                "are no batches=; to build from the scales in a file, give it as dynamic ranges (ranges=)"
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
    """``implicit`` that keeps the plan's float nodes out of INT8; layers are called what the nodes are."""
    if plan is None:
        return implicit
    plan.check([label(node) for node in index.graph.node])
    floats = [name for name, precision in plan.nodes.items() if precision == "float"]
    if implicit.fp16:
        return replace(implicit, keep_fp16=[*implicit.keep_fp16, *floats])
    return replace(implicit, keep_fp32=[*implicit.keep_fp32, *floats])


def _lines_on_record(record: QuantizationRecord | None, prepared: Prepared) -> list[str]:
    """Lines about the record that a Q/DQ model carries."""
    if record is None:
        return []
    lines = [f"recorded when the model was quantized: {record.text}"]
    if record.placement.split(" ")[0] != prepared.target.placement:
        lines.append(
            f"WARNING: the Q/DQ pairs were placed for target {record.target} (placement {record.placement}), "
            f"and this builds for {prepared.target.name}, which wants placement {prepared.target.placement}; "
            f"quantize the float model again for target {prepared.target.name}"
        )
    return lines


def _check_records(options: object, calibration: object, profile: object, implicit: object) -> None:
    """Refuse what is no record of options; None is.

    Raises:
        TypeError: naming the argument and what to give.
    """
    wanted: tuple[tuple[str, object, type, str], ...] = (
        ("options", options, QuantizationOptions, "trt_int8.QuantizationOptions(algorithm='mse')"),
        ("calibration", calibration, CalibrationOptions, "trt_int8.CalibrationOptions(threads=2)"),
        ("profile", profile, Profile, "trt_int8.Profile(batch_size=8)"),
        ("implicit", implicit, ImplicitOptions, "trt_int8.engine.implicit.ImplicitOptions(fp16=True)"),
    )
    for name, value, kind, example in wanted:
        if isinstance(value, Mapping):
            example = f"{example.partition('(')[0]}(**{name})"
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r:.40} ({type(value).__name__}); give {example}")


def _check_files(
    model: object, engine: Path, log: Path, qdq: FilePath | None, implicit: ImplicitOptions
) -> None:
    """Results overwrite nothing that is read, nor each other."""
    if not isinstance(model, Model):
        require_model(model)
    inputs: dict[str, FilePath] = {"model": model} if isinstance(model, str | os.PathLike) else {}
    ranges = [source for source in implicit.ranges if isinstance(source, str | os.PathLike)]
    inputs |= {f"dynamic ranges {number}": path for number, path in enumerate(ranges, start=1)}
    outputs: dict[str, FilePath] = {"engine": engine, "log": log}
    if qdq is not None:
        require_path(qdq, "qdq", of="the Q/DQ model to write")
        outputs["Q/DQ model"] = qdq
    if implicit.timing_cache is not None:
        outputs["timing cache"] = implicit.timing_cache
    if implicit.cache is not None:
        store = CacheStore(implicit.cache)
        files = {"calibration cache": store.path, "fingerprint of the cache": store.sidecar}
        # One that exists is read.
        (inputs if store.exists() else outputs).update(files)
    check_outputs(outputs, inputs=inputs)
    require_regular(log)


def _check_sources(
    model: Model,
    batches: object,
    ranges: object,
    options: QuantizationOptions,
    implicit: ImplicitOptions,
) -> None:
    """Ranges come from batches or are given; those of a model with Q/DQ nodes are in it."""
    if not model.has_qdq:
        if batches is None and ranges is None and not implicit.ranges:
            raise ValueError("a float model needs samples or ranges: give batches= or ranges=")
        return
    if batches is not None or ranges is not None:
        raise BuildError(
            "the model holds Q/DQ nodes, which say what runs in INT8 and with which scales; "
            "leave batches= and ranges= out, or start from the float model"
        )
    asked = options.asked_for()
    if asked:
        raise BuildError(
            f"the model holds Q/DQ nodes, and is built as it is: leave {asked[0]}= out, or start from the "
            "float model"
        )


def _refuse_implicit_only(route: ChosenRoute, implicit: ImplicitOptions) -> None:
    """Options without effect would be taken for obeyed."""
    asked = implicit.asked_for()
    if asked:
        raise BuildError(
            f"{', '.join(asked)}: only the implicit route has these options, and this build takes the "
            f"explicit one ({route.reason})"
        )

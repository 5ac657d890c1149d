"""Turn a float model and samples into a Q/DQ model and its record: calibrate, place, correct, evaluate."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import onnx

from trt_int8.batches.items import Batches
from trt_int8.calibration.calibration import Calibration, calibrate
from trt_int8.calibration.thresholds import EXPLICIT
from trt_int8.correction.correct import Corrected, correct, figures
from trt_int8.errors import ModelError, QuantizationError
from trt_int8.evaluation.accuracy import AccuracyCheck
from trt_int8.graph.model import ModelLike
from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.pipeline.prepare import Prepared, prepare
from trt_int8.quantization.half import to_half
from trt_int8.quantization.quantized import Quantized, quantize, required_tensors
from trt_int8.ranges.ranges import Ranges
from trt_int8.record import QuantizationRecord, decibels, store_record
from trt_int8.target import Target

#: A function that gets lines for people.
Tell = Callable[[str], None]
#: Begins a line that must not be missed.
WARNING = "WARNING: "


def log_info(line: str) -> None:
    """Log ``line``, at the level of warnings if it is one."""
    level = logging.WARNING if line.startswith(WARNING) else logging.INFO
    logging.getLogger("trt_int8").log(level, "%s", line.removeprefix(WARNING))


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """The result of `quantize_from_data`.

    Attributes:
        model: the Q/DQ model to build or to save; its metadata has the record.
        quantized: its nodes and scales, and the nodes that are not quantized.
        record: how it was made, and its SQNR.
        calibration: of the tensors that are quantized; None if ranges were given.
        passed_over: tensors that were not recentred, with the reason, for people.
    """

    model: onnx.ModelProto
    quantized: Quantized
    record: QuantizationRecord
    calibration: Calibration | None = None
    passed_over: tuple[str, ...] = ()


def quantize_from_data(
    model: ModelLike,
    batches: Batches | None = None,
    *,
    ranges: Ranges | None = None,
    target: str | Target | None = None,
    options: QuantizationOptions | None = None,
    calibration: CalibrationOptions | None = None,
    profile: Profile | None = None,
    tell: Tell = log_info,
) -> QuantizedModel:
    """Calibrate the tensors that are quantized, insert Q/DQ pairs, correct biases, and measure the accuracy.

    A quarter of the samples, 16 or a few more, is held back (256 for recentring). Ranges and biases are not
    computed from these; they only decide which corrections are kept, and the offsets of recentring. The SQNR
    in the record is measured on them.

    Examples:
        >>> import numpy as np
        >>> images = np.load("samples.npy")
        >>> made = quantize_from_data("model.onnx", [image[None] for image in images], target="rtx:sm89")
        >>> made.record.evaluated, made.record.worst_db > 20
        (5, True)

    Args:
        model: the trained float model; it is not changed.
        batches: samples, read once (see `trt_int8.batches.items.as_batch`). With ``ranges`` they only serve
            for corrections and evaluation. Without samples, biases are not corrected and SQNR is not known.
        ranges: dynamic ranges instead of a calibration.
        target: what the engine is for; None: the default of `trt_int8.build_engine` on this machine.
        options: what is quantized and how.
        calibration: how calibration runs.
        profile: shapes that the engine must accept.
        tell: function that gets lines for people.

    Raises:
        ValueError: ``batches`` and ``ranges`` are both missing.
        TrtInt8Error: what the steps raise: `prepare`, `trt_int8.calibrate`, `trt_int8.quantize` and
            `trt_int8.correction.correct.correct`.
    """
    if batches is None and ranges is None:
        raise ValueError("a float model needs samples or ranges: give batches= or ranges=")
    prepared = prepare(model, batches=batches, ranges=ranges, target=target, options=options, profile=profile)
    tell(prepared.target.text)
    return quantize_prepared(prepared, calibration=calibration, tell=tell)


def quantize_prepared(
    prepared: Prepared, *, calibration: CalibrationOptions | None = None, tell: Tell = log_info
) -> QuantizedModel:
    """Run the steps of `quantize_from_data` on the result of `prepare`."""
    _require_data_for_corrections(prepared)
    calibrated, ranges = None, prepared.ranges
    if ranges is None:
        calibrated = calibrate_prepared(prepared, calibration)
        ranges = calibrated.ranges
    elif prepared.data is not None:
        prepared.data.close()  # corrections and evaluation need no more samples
    corrected = _place_and_correct(prepared, ranges, calibrated)
    for correction in corrected.corrections:
        tell(correction.text)
    model, note = corrected.quantized.model, corrected.note
    before, after = figures(corrected.before), figures(corrected.after)
    if prepared.options.high_precision == "fp16":
        model = to_half(model, scale_dtype=prepared.options.scale_dtype)
        if after:
            before, after, note = _fp16_accuracy(prepared, corrected, model)
    record = make_record(
        prepared,
        placement=prepared.placement.text,
        ranges="given" if calibrated is None else "calibration",
        algorithm=None if calibrated is None else calibrated.algorithm,
        high_precision=prepared.options.high_precision,
        samples=0 if calibrated is None else calibrated.samples,
        corrections=corrected.corrections,
        sqnr_db=after,
        before_db=before,
        note=note,
        **evaluated_samples(prepared),
    )
    store_record(model, record)
    tell(record.text)
    warn_of_budget(prepared, record, tell)
    quantized = replace(corrected.quantized, model=model)
    return QuantizedModel(model, quantized, record, calibrated, corrected.passed_over)


def calibrate_prepared(prepared: Prepared, calibration: CalibrationOptions | None = None) -> Calibration:
    """Calibrate the tensors that need a range, on the samples that are not held back."""
    assert prepared.data is not None
    how = calibration or CalibrationOptions()
    tensors = None
    if not prepared.options.recentred:  # recentring needs the histograms of all tensors
        tensors = required_tensors(prepared.model, placement=prepared.placement, selection=prepared.selection)
    elsewhere = how.workers is not None or how.scheduler is not None
    batches = prepared.data.readable() if elsewhere else prepared.data.calibration
    algorithm = prepared.options.algorithm or EXPLICIT
    return calibrate(prepared.model, batches, algorithm=algorithm, tensors=tensors, **vars(how))


def _place_and_correct(prepared: Prepared, ranges: Ranges, calibrated: Calibration | None) -> Corrected:
    def place(model: ModelLike, ranges: Ranges) -> Quantized:
        return quantize(model, ranges, placement=prepared.placement, selection=prepared.selection)

    plain = place(prepared.model, ranges)
    if prepared.data is None:
        note = "biases were not corrected and SQNR was not measured, as both need samples"
        return Corrected(plain, plain, note=note)
    return correct(
        prepared.model,
        plain,
        fit=prepared.data.first,
        held_back=prepared.data.evaluation,
        place=place,
        ranges=ranges,
        histograms=None if calibrated is None else calibrated.histograms,
        recentred=prepared.options.recentred,
        bias_correction=prepared.options.bias_correction,
    )


def _fp16_accuracy(
    prepared: Prepared, corrected: Corrected, model: onnx.ModelProto
) -> tuple[Mapping[str, float], Mapping[str, float], str]:
    """Return SQNR of each output in FP16 without and with corrections, and a note; ``model`` has them."""
    assert prepared.data is not None
    try:
        check = AccuracyCheck(prepared.model, prepared.data.evaluation)
        plain = to_half(corrected.plain.model, scale_dtype=prepared.options.scale_dtype)
        return check(plain).outputs, check(model).outputs, check.note
    except ModelError as error:
        return {}, {}, f"onnxruntime cannot run the FP16 model on the CPU: {error}"


def _require_data_for_corrections(prepared: Prepared) -> None:
    options = prepared.options
    if prepared.data is None and (options.recentred or options.bias_correction):
        name = "recentred" if options.recentred else "bias_correction"
        raise QuantizationError(f"{name}: this correction needs samples; give batches=")
    if prepared.ranges is not None and options.recentred:
        raise QuantizationError(
            "recentred: offsets need a calibration, but ranges were given; leave ranges= out"
        )


def evaluated_samples(prepared: Prepared) -> dict[str, Any]:
    """Return the fields of a record that say on which samples it is measured."""
    data = prepared.data
    if data is None or not data.evaluation:
        return {}
    plan = prepared.selection.plan
    searched = plan is not None and bool(plan.budget)  # perhaps on these samples
    return {"held_back": data.rows, "data": data.digest(), "unseen": bool(data.held) and not searched}


def make_record(prepared: Prepared, **fields: Any) -> QuantizationRecord:
    """Return the record with the target, the optimization profile, the versions, and ``fields``."""
    profile = {name: (s.min, s.opt, s.max) for name, s in prepared.shapes.items()}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "onnx": onnx.__version__}
    for package in ("trt_int8", "onnxruntime"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return QuantizationRecord(target=prepared.target.name, profile=profile, versions=versions, **fields)


def warn_of_budget(prepared: Prepared, record: QuantizationRecord, tell: Tell) -> None:
    """Warn if SQNR is below what the precision plan was searched for."""
    plan = prepared.selection.plan
    wanted = None if plan is None else plan.budget.get("min_sqnr")
    if plan is not None and wanted is not None and record.sqnr_db and not record.worst_db >= wanted:
        tell(
            f"{WARNING}{plan.source} was searched for at least {wanted:g} dB, but SQNR of the worst "
            f"output is {decibels(record.worst_db)} on these samples; search again with more samples"
        )

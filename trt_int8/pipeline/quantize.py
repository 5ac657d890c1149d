"""Float model and samples in, Q/DQ model and its record out: calibrate, place, correct, judge."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata

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
from trt_int8.record import QuantizationRecord, store_record
from trt_int8.target import Target

_logger = logging.getLogger("trt_int8")

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """The result of `quantize_from_data`.

    Attributes:
        model: the Q/DQ model to build or to save; its metadata holds the record.
        quantized: its nodes and scales, and what stays float.
        record: how it was made, and what it loses.
        calibration: of the tensors that are quantized; None where ranges were given.
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
    tell: Tell = _logger.info,
) -> QuantizedModel:
    """Calibrate what the placement quantizes, insert Q/DQ pairs, correct biases, and measure the loss.

    A quarter of the samples, 16 at most, is held back: nothing is made from these, and the figure in the
    record is measured on them.

    Examples:
        >>> import numpy as np
        >>> images = np.load("samples.npy")
        >>> made = quantize_from_data("model.onnx", [image[None] for image in images], target="rtx:sm89")
        >>> made.record.evaluated, made.record.worst_db > 20
        (5, True)

    Args:
        model: the trained float model; never changed.
        batches: samples, read once (see `trt_int8.batches.items.as_batch`). With ``ranges`` they only correct
            and judge; without any, biases stay as they are and the loss is not known.
        ranges: dynamic ranges instead of a calibration.
        target: what the engine is for; None: what `trt_int8.build_engine` takes on this machine.
        options: what is quantized and how.
        calibration: how calibration runs.
        profile: shapes that the engine has to take.
        tell: gets lines for people.

    Raises:
        ValueError: neither ``batches`` nor ``ranges``.
        TrtInt8Error: what the steps raise: `prepare`, `trt_int8.calibrate`, `trt_int8.quantize` and
            `trt_int8.correction.correct.correct`.
    """
    if batches is None and ranges is None:
        raise ValueError("a float model needs samples or ranges: give batches= or ranges=")
    prepared = prepare(model, batches=batches, ranges=ranges, target=target, options=options, profile=profile)
    tell(prepared.target.text)
    return quantize_prepared(prepared, calibration=calibration, tell=tell)


def quantize_prepared(
    prepared: Prepared, *, calibration: CalibrationOptions | None = None, tell: Tell = _logger.info
) -> QuantizedModel:
    """The steps of `quantize_from_data` over what `prepare` made."""
    _require_data_for_corrections(prepared)
    calibrated = None
    if prepared.ranges is None:
        calibrated = calibrate_prepared(prepared, calibration)
    elif prepared.data is not None:
        prepared.data.close()  # no more is read than corrects and judges
    ranges = prepared.ranges if calibrated is None else calibrated.ranges
    assert ranges is not None
    plain = place(prepared, prepared.model, ranges)
    corrected = _corrected(prepared, plain, ranges, calibrated)
    for correction in corrected.corrections:
        tell(correction.text)
    model, accuracy, note = corrected.quantized.model, figures(corrected.after), corrected.note
    if prepared.options.high_precision == "fp16":
        model = to_half(model, scale_dtype=prepared.options.scale_dtype)
        if accuracy:
            accuracy, note = _judged(prepared, model)
    record = QuantizationRecord(
        target=prepared.target.name,
        placement=prepared.placement.text,
        ranges="given" if calibrated is None else "calibration",
        algorithm=None if calibrated is None else calibrated.algorithm,
        high_precision=prepared.options.high_precision,
        samples=0 if calibrated is None else calibrated.samples,
        corrections=corrected.corrections,
        sqnr_db=accuracy,
        before_db=figures(corrected.before) if accuracy else {},
        note=note,
        profile=profile_shapes(prepared),
        versions=versions(),
    )
    record = judged_on(record, prepared)
    store_record(model, record)
    tell(record.text)
    for line in budget_warnings(prepared, record):
        tell(line)
    quantized = replace(corrected.quantized, model=model)
    return QuantizedModel(model, quantized, record, calibrated, corrected.passed_over)


def calibrate_prepared(prepared: Prepared, calibration: CalibrationOptions | None = None) -> Calibration:
    """Calibrate on the samples that are not held back, and only the tensors that need a range.

    Raises:
        TrtInt8Error: what `trt_int8.calibrate` raises.
    """
    assert prepared.data is not None
    how = calibration or CalibrationOptions()
    tensors = None
    if not prepared.options.recentred:  # recentring looks at every tensor
        tensors = required_tensors(prepared.model, placement=prepared.placement, selection=prepared.selection)
    elsewhere = how.workers is not None or how.scheduler is not None
    return calibrate(
        prepared.model,
        prepared.data.readable() if elsewhere else prepared.data.calibration,
        algorithm=prepared.options.algorithm or EXPLICIT,
        tensors=tensors,
        threads=how.threads,
        max_memory=how.max_memory,
        checkpoint=how.checkpoint,
        scheduler=how.scheduler,
        workers=how.workers,
    )


def place(prepared: Prepared, model: ModelLike, ranges: Ranges) -> Quantized:
    """Insert Q/DQ pairs into ``model``, a form of the prepared one, as the options say."""
    return quantize(model, ranges, placement=prepared.placement, selection=prepared.selection)


def _corrected(
    prepared: Prepared, plain: Quantized, ranges: Ranges, calibrated: Calibration | None
) -> Corrected:
    if prepared.data is None:
        return Corrected(
            plain, note="biases were not corrected and nothing was measured, as that needs samples"
        )
    return correct(
        prepared.model,
        plain,
        fit=prepared.data.first,
        judging=prepared.data.evaluation,
        place=lambda model, found: place(prepared, model, found),
        ranges=ranges,
        histograms=None if calibrated is None else calibrated.histograms,
        recentred=prepared.options.recentred,
        bias_correction=prepared.options.bias_correction,
    )


def _judged(prepared: Prepared, model: onnx.ModelProto) -> tuple[dict[str, float], str]:
    """SQNR of each output of the FP16 form; none, with the reason, where onnxruntime cannot run it."""
    assert prepared.data is not None
    try:
        return dict(AccuracyCheck(prepared.model, prepared.data.evaluation)(model).outputs), ""
    except ModelError as error:
        return {}, f"onnxruntime cannot run the FP16 model on the CPU: {error}"


def _require_data_for_corrections(prepared: Prepared) -> None:
    options = prepared.options
    if prepared.data is None and (options.recentred or options.bias_correction):
        what = "recentred" if options.recentred else "bias_correction"
        raise QuantizationError(
            f"{what}: what it gains is measured on samples, and there are none; give batches="
        )
    if prepared.ranges is not None and options.recentred:
        raise QuantizationError(
            "recentred: offsets are found by calibration, and ranges were given; leave ranges= out"
        )


def judged_on(record: QuantizationRecord, prepared: Prepared) -> QuantizationRecord:
    """``record`` that says which samples it is measured on."""
    data = prepared.data
    if data is None or not data.evaluation:
        return record
    return replace(record, held_back=data.rows, data=data.digest(), unseen=bool(data.held))


def profile_shapes(prepared: Prepared) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Dynamic input → its min, opt and max shape."""
    return {name: (s.min, s.opt, s.max) for name, s in prepared.shapes.items()}


def budget_warnings(prepared: Prepared, record: QuantizationRecord) -> list[str]:
    """Lines where the precision plan promised more than was measured."""
    plan = prepared.selection.plan
    wanted = None if plan is None else plan.budget.get("min_sqnr")
    if plan is None or wanted is None or not record.sqnr_db or record.worst_db >= wanted:
        return []
    return [
        f"WARNING: {plan.source} was searched for {wanted:g} dB, and the worst output has "
        f"{record.worst_db:.2f} dB on these samples; search again with more samples"
    ]


def versions() -> dict[str, str]:
    """Versions of what computes the result."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "onnx": onnx.__version__}
    for package in ("trt_int8", "onnxruntime"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

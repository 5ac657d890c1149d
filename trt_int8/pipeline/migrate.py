"""Turn a float model and TensorRT's calibration cache into a Q/DQ model and its record."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from trt_int8.errors import ModelError
from trt_int8.evaluation.accuracy import AccuracyCheck
from trt_int8.pipeline.prepare import Prepared
from trt_int8.pipeline.quantize import Tell, evaluated_samples, log_info, make_record
from trt_int8.quantization.migration.migrate import Migration, migrate
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.record import QuantizationRecord, store_record
from trt_int8.report.report import PrecisionReport


@dataclass(frozen=True, eq=False)
class MigratedModel:
    """The result of `migrate_prepared`: the Q/DQ model with its comparison, and its record."""

    migration: Migration
    record: QuantizationRecord


def migrate_prepared(
    prepared: Prepared,
    cache: CalibrationCache,
    *,
    log: PrecisionReport | None = None,
    tell: Tell = log_info,
) -> MigratedModel:
    """Insert Q/DQ pairs with the scales of ``cache``, and measure the accuracy if there are samples.

    The samples correct nothing, as the scales and biases are those of the implicit build. For ``log`` and the
    errors see `trt_int8.migrate`.
    """
    options = prepared.options
    migration = migrate(
        prepared.model,
        cache,
        log=log,
        placement=prepared.placement,
        selection=prepared.selection,
        high_precision=options.high_precision,
        scale_dtype=options.scale_dtype,
    )
    if prepared.data is not None:
        prepared.data.close()  # no more samples are needed than those it measures on
    sqnr, note = measured(prepared, migration.model)
    samples = evaluated_samples(prepared) if sqnr else {}
    record = make_record(
        prepared,
        placement=migration.placement,
        ranges="calibration cache",
        algorithm=cache.algorithm,
        high_precision="fp16" if prepared.model.holds_half else options.high_precision,
        sqnr_db=sqnr,
        before_db=sqnr,
        note=note,
        **{**samples, "unseen": False},  # the cache may be calibrated on any samples
    )
    store_record(migration.model, record)
    tell(record.text)
    return MigratedModel(migration, record)


def measured(prepared: Prepared, model: onnx.ModelProto) -> tuple[dict[str, float], str]:
    """Return SQNR of each output in dB on the samples that are held back, and a note; {} if that fails."""
    if prepared.data is None:
        return {}, "SQNR was not measured, as that needs samples"
    if not prepared.data.evaluation:
        return {}, "SQNR was not measured, as that needs samples in host memory, not in GPU memory"
    try:
        check = AccuracyCheck(prepared.model, prepared.data.evaluation)
        return dict(check(model).outputs), check.note
    except ModelError as error:
        return {}, f"onnxruntime cannot run the model on the CPU: {error}"

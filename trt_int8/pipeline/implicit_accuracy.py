"""Simulate an engine of the implicit route: its scales and its log give a Q/DQ model with the same layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from trt_int8.engine.implicit.callbacks import CalibrationSummary
from trt_int8.errors import TrtInt8Error
from trt_int8.pipeline.migrate import measured
from trt_int8.pipeline.prepare import Prepared
from trt_int8.pipeline.quantize import evaluated_samples, make_record
from trt_int8.quantization.migration.migrate import migrate
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.record import QuantizationRecord, store_record
from trt_int8.report import PrecisionReport


@dataclass(frozen=True, eq=False)
class Simulated:
    """The result of `simulate`: the Q/DQ model, None if it could not be made, and the record."""

    model: onnx.ModelProto | None
    record: QuantizationRecord


def simulate(
    prepared: Prepared,
    *,
    log: Path,
    scales: CalibrationCache | None,
    hand_set: Mapping[str, tuple[float, float]],
    summary: CalibrationSummary | None,
    fp16: bool = False,
) -> Simulated:
    """Make the Q/DQ model that simulates the engine, and measure its SQNR on the held-back samples.

    The nodes that run in INT8 according to the log get the scales that TensorRT used. An error here does not
    fail the build: the note of the record says why there is no SQNR.

    Args:
        prepared: the float model and the samples.
        log: the log of the build.
        scales: scales from the calibrator or its cache; None without calibrator.
        hand_set: dynamic ranges set by hand, which override calibration.
        summary: of the calibration; scales of a cache may come from any of the samples. None without one.
        fp16: whether FP16 was allowed in addition to INT8.
    """
    model, sqnr, notes = None, dict[str, float](), list[str]()
    try:
        made = migrate(
            prepared.model,
            _cache(scales, hand_set),
            log=PrecisionReport.from_log(log),
            target=prepared.target,
        )
        model = made.model
        sqnr, note = measured(prepared, model)
        notes += [note] if note else []
        if sqnr and fp16:
            notes.append("FP16 layers are simulated in FP32")
    except TrtInt8Error as error:
        notes.append(f"the engine cannot be simulated: {' '.join(str(error).split())}")
    samples = evaluated_samples(prepared) if sqnr else {}
    from_cache = summary is not None and summary.source == "cache"
    record = make_record(
        prepared,
        route="implicit",
        placement=prepared.placement.text,
        ranges="TensorRT's calibrator" if scales is not None else "given",
        algorithm=None if scales is None else scales.algorithm,
        high_precision="fp16" if fp16 else "fp32",
        samples=0 if summary is None else summary.batches * (summary.batch_size or 0),
        sqnr_db=sqnr,
        before_db=sqnr,
        note="; ".join(notes),
        **{**samples, "unseen": samples.get("unseen", True) and not from_cache},
    )
    if model is not None:
        store_record(model, record)
    return Simulated(model, record)


def _cache(scales: CalibrationCache | None, hand_set: Mapping[str, tuple[float, float]]) -> CalibrationCache:
    """Return one cache with all scales that TensorRT used."""
    by_hand = {
        name: TensorRange(max(map(abs, bounds)), source="by hand") for name, bounds in hand_set.items()
    }
    if scales is None:
        return CalibrationCache.from_ranges(Ranges(by_hand))
    if not by_hand:
        return scales
    return CalibrationCache.from_ranges(Ranges({**scales.ranges(), **by_hand}))

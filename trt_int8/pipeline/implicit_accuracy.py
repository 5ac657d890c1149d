"""Simulate an engine whose layers TensorRT chose: its cache and its log give the Q/DQ model it amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from trt_int8.errors import TrtInt8Error
from trt_int8.evaluation.accuracy import AccuracyCheck
from trt_int8.pipeline.prepare import Prepared
from trt_int8.pipeline.quantize import judged_on, profile_shapes, versions
from trt_int8.quantization.migration.migrate import migrate
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.record import QuantizationRecord, store_record
from trt_int8.report import PrecisionReport


@dataclass(frozen=True, eq=False)
class Simulated:
    """The result of `simulate`: the Q/DQ model, None where none can be made, and the record."""

    model: onnx.ModelProto | None
    record: QuantizationRecord


def simulate(
    prepared: Prepared,
    *,
    log: Path,
    scales: CalibrationCache | None,
    hand_set: Mapping[str, tuple[float, float]],
    from_cache: bool,
    fp16: bool = False,
) -> Simulated:
    """Turn what was built into a Q/DQ model, and measure that on the samples that are held back.

    The nodes that ran in INT8, by the log, get the scales that TensorRT used. Nothing here fails the build:
    the note of the record says why there is no figure.

    Args:
        prepared: the float model and the samples.
        log: the log of the build.
        scales: what the calibrator found, or its cache held; None without one.
        hand_set: dynamic ranges set by hand, which win over calibration.
        from_cache: the scales are those of an earlier calibration, which may have seen any sample.
        fp16: whether FP16 was allowed beside INT8.
    """
    model, notes = None, list[str]()
    figures: dict[str, float] = {}
    try:
        made = migrate(
            prepared.model,
            _cache(scales, hand_set),
            log=PrecisionReport.from_log(log),
            target=prepared.target,
        )
        model = made.model
        if prepared.data is None:
            notes.append("nothing was measured, as that needs samples")
        elif not prepared.data.evaluation:
            notes.append("the samples are in GPU memory, and only samples in host memory are measured on")
        else:
            figures = dict(AccuracyCheck(prepared.model, prepared.data.evaluation)(model).outputs)
            if fp16:
                notes.append("FP16 layers are simulated in FP32")
    except TrtInt8Error as error:
        notes.append(f"the engine cannot be simulated: {' '.join(str(error).split())}")
    record = QuantizationRecord(
        target=prepared.target.name,
        route="implicit",
        placement="tensorrt",
        ranges="TensorRT's calibrator" if scales is not None else "given",
        algorithm=None if scales is None else scales.algorithm,
        high_precision="fp16" if fp16 else "fp32",
        sqnr_db=figures,
        before_db=figures,
        note="; ".join(notes),
        profile=profile_shapes(prepared),
        versions=versions(),
    )
    if figures:
        record = judged_on(record, prepared)
    record = replace(record, unseen=record.unseen and not from_cache)
    if model is not None:
        store_record(model, record)
    return Simulated(model, record)


def _cache(scales: CalibrationCache | None, hand_set: Mapping[str, tuple[float, float]]) -> CalibrationCache:
    """Every scale that TensorRT was given, as one cache."""
    by_hand = {
        name: TensorRange(max(map(abs, bounds)), source="by hand") for name, bounds in hand_set.items()
    }
    if scales is None:
        return CalibrationCache.from_ranges(Ranges(by_hand))
    if not by_hand:
        return scales
    return CalibrationCache.from_ranges(Ranges({**scales.ranges(), **by_hand}))

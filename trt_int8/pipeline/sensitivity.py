"""Sensitivity of nodes by the same steps as a build, and a plan held against what a build will make of it."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trt_int8.batches.items import Batches
from trt_int8.evaluation.metrics import Metric
from trt_int8.evaluation.sensitivity import Budget, Evaluator, Found, Measurements
from trt_int8.pipeline.prepare import Prepared
from trt_int8.pipeline.quantize import calibrate_prepared, quantize_prepared
from trt_int8.quantization.plan import PrecisionPlan


def measure_sensitivity(
    prepared: Prepared,
    batches: Batches,
    *,
    labels: npt.NDArray[np.generic] | None = None,
    metric: Metric | None = None,
    output: str | None = None,
    state: str | os.PathLike[str] | None = None,
) -> Measurements:
    """Calibrate once, as a build does, and get ready to measure nodes on ``batches``.

    Args:
        prepared: the float model and the samples to calibrate with; or ranges.
        batches: all the samples, to judge by; kept in memory.
        labels, metric, output: see `Evaluator`.
        state: see `Measurements`.

    Raises:
        TrtInt8Error: what calibration, `Evaluator` and `Measurements` raise.
    """
    ranges = prepared.ranges if prepared.ranges is not None else calibrate_prepared(prepared).ranges
    judge = Evaluator(prepared.model.proto, batches, labels=labels, metric=metric, output=output)
    return Measurements(prepared.model.proto, ranges, judge, placement=prepared.placement, state=state)


def check_plan(
    prepared: Prepared, measurements: Measurements, found: Found, budget: Budget, *, source: str
) -> tuple[PrecisionPlan, list[str]]:
    """The plan that was found, with what it reaches when it is built: biases corrected, unseen samples.

    Args:
        prepared, measurements: what the plan was searched with.
        found, budget: what was found, and for what.
        source: what to call the plan in messages.

    Returns:
        (the plan, lines for people: the SQNR that a build will show, and a warning where that is below the
        budget).
    """
    budgeted = {"max_drop": budget.max_drop, "min_sqnr": budget.min_sqnr_db}
    reached = {"sqnr_db": found.score.sqnr_db, "drop": found.score.drop}
    plan = replace(
        measurements.plan(found.floats, source=source),
        target=prepared.target.name,
        placement=prepared.placement.name,
        budget={name: value for name, value in budgeted.items() if value is not None},
        reached={name: round(value, 6) for name, value in reached.items() if math.isfinite(value)},
    )
    if len(found.floats) == len(measurements.nodes):
        return plan, ["nothing is left in INT8"]
    lines: list[str] = []
    planned = replace(
        prepared,
        ranges=measurements.ranges,
        selection=replace(prepared.selection, plan=plan),
    )
    record = quantize_prepared(planned, tell=lines.append).record
    if record.sqnr_db:
        plan = replace(plan, reached={**plan.reached, "held_back_sqnr_db": round(record.worst_db, 2)})
    return plan, lines

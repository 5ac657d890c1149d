"""Measure the sensitivity of nodes with the steps of a build, and confirm a plan as a build does."""

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
    """Calibrate once, as a build does, and prepare the measurements of nodes on ``batches``.

    For the arguments and the errors see `Evaluator` and `Measurements`.
    """
    ranges = prepared.ranges if prepared.ranges is not None else calibrate_prepared(prepared).ranges
    evaluator = Evaluator(prepared.model.proto, batches, labels=labels, metric=metric, output=output)
    return Measurements(prepared.model.proto, ranges, evaluator, placement=prepared.placement, state=state)


def check_plan(
    prepared: Prepared, measurements: Measurements, found: Found, budget: Budget, *, source: str
) -> tuple[PrecisionPlan, list[str]]:
    """Make the plan, and confirm it as a build does: with corrected biases, on held-back samples.

    ``source`` is the name of the plan in messages.

    Returns:
        (the plan, lines for people: the SQNR that a build will show, a warning if it is below the budget).
    """
    budgeted = {"max_drop": budget.max_drop, "min_sqnr": budget.min_sqnr_db}
    reached = {"sqnr_db": found.score.sqnr_db, "drop": found.score.drop}
    plan = replace(
        measurements.plan(found.floats, source=source),
        target=prepared.target.name,
        placement=prepared.placement.text,
        budget={name: value for name, value in budgeted.items() if value is not None},
        reached={name: round(value, 6) for name, value in reached.items() if math.isfinite(value)},
    )
    if len(found.floats) == len(measurements.nodes):
        return plan, ["no node is left in INT8"]
    lines = list[str]()
    selection = replace(prepared.selection, plan=plan)
    planned = replace(prepared, ranges=measurements.ranges, selection=selection)
    record = quantize_prepared(planned, tell=lines.append).record
    if not math.isnan(record.worst_db):
        plan = replace(plan, reached={**plan.reached, "held_back_sqnr_db": round(record.worst_db, 2)})
    return plan, lines

"""Plans that the sensitivity search finds on real models: the drop on unseen data, and the engine.

Prints the table of docs/benchmarks.md; needs what explicit_quality.py needs, and shares its folder::

    python benchmarks/precision_plans.py
"""

import argparse
from pathlib import Path

from quality import data
from quality.environment import Environment
from quality.models import CASES, DIGITS, fetch_wheels, prepare

from trt_int8.calibration import calibrate
from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.evaluation import evaluate
from trt_int8.evaluation.sensitivity import Budget, Evaluator, Measurements, rank, search
from trt_int8.report import PrecisionReport
from trt_int8.report.gate import deviations

BUDGET = 0.01
CALIBRATION, SEEN, UNSEEN = 64, 300, 300
COLUMNS = (
    "model",
    "nodes",
    "planned in INT8",
    "drop, seen",
    "drop, unseen (all in INT8)",
    "in INT8 in the engine",
    "listed",
)


def plan(case, wheels, work):
    """One row: search on one part of the data, measure on another, build."""
    model = prepare(case, wheels, work / "trained")
    (name,) = [entry.name for entry in model.graph.input if entry.name not in _constants(model)]

    def batches(images):
        return [{name: image[None]} for image in images]

    fit = case.images(data.Renderer("calibration", wheels), "calibration", CALIBRATION)
    judged = case.images(data.Renderer("evaluation", wheels), "evaluation", SEEN + UNSEEN)
    seen, unseen = batches(judged.images[:SEEN]), batches(judged.images[SEEN:])
    labels, others = judged.truth[:SEEN], judged.truth[SEEN:]
    ranges = calibrate(model, batches(fit.images), algorithm="mse").ranges
    measurements = Measurements(model, ranges, Evaluator(model, seen, labels=labels), placement="rtx")
    found = search(measurements, rank(measurements), Budget(max_drop=BUDGET))
    quantized = measurements.quantized(found.floats).model
    drops = [
        evaluate(model, measurements.quantized(floats).model, unseen, labels=others).drop
        for floats in (found.floats, ())
    ]
    log_file = work / "precision_plan.log"
    with BuildLog(log_file) as log:
        build_explicit(quantized, tensorrt=load("tensorrt_rtx"), log=log, target="sm89")
    build = PrecisionReport.from_log(log_file).last
    planned = measurements.plan(found.floats).nodes
    listed = deviations(planned, build)
    in_int8 = {node.node for node in build.nodes if node.precision == "int8"} & set(planned)
    count = len(planned)
    wanted = count - len(found.floats)
    other = ", ".join(line.split(" is planned")[0] for line in listed) or "–"
    return (
        f"| {case.name} | {count} | {wanted} ({wanted / count:.0%}) | {found.score.drop:.3f} "
        f"| {drops[0]:.3f} ({drops[1]:.3f}) | {len(in_int8)} | {other} |"
    )


def _constants(model):
    return {tensor.name for tensor in model.graph.initializer}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    folder = Path(__file__).resolve().parents[1] / "build/explicit-quality"
    parser.add_argument("--work", type=Path, default=folder)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    wheels = fetch_wheels(options.work / "wheels")
    Environment(options.work).train(DIGITS)
    print(f"| {' | '.join(COLUMNS)} |")
    print("| --- " * len(COLUMNS) + "|")
    for case in CASES:
        if case.metric == "top1":
            print(plan(case, wheels, options.work), flush=True)


if __name__ == "__main__":
    main()

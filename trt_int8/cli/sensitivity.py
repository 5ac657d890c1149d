"""``trt-int8 sensitivity``: rank the nodes by accuracy loss; search for a precision plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trt_int8.cli import options
from trt_int8.cli.accuracy_options import AccuracyOptions, accuracy
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import result_option
from trt_int8.cli.placement import placement
from trt_int8.cli.terminal import say

if TYPE_CHECKING:
    from trt_int8.evaluation.sensitivity import Measurements, NodeSensitivity


@click.command(cls=Command)
@options.model
@options.cache
@accuracy(
    max_drop="Search for a precision plan with which the metric drops by X at most.",
    min_sqnr="Search for a precision plan with which the SQNR of each output is DB decibels at least.",
)
@result_option("-o", "--output", panel=Panel.MODEL, help="The precision plan to write (YAML).")
@result_option(
    "--state",
    panel=Panel.MODEL,
    help="Save each measurement to FILE. An interrupted run resumes from the same FILE.",
)
@options.target
@placement
@options.output_format(panel=Panel.MODEL)
@options.algorithm_of_route
@options.shapes
@options.data(required=True)
def sensitivity(
    model: str,
    cache: str | None,
    accuracy: AccuracyOptions,
    output: str | None,
    state: str | None,
    target: str | None,
    placement: str | None,
    form: str,
    algorithm: str | None,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Measure how much accuracy each node loses in INT8, and rank the nodes by it.

    Each node is measured twice: only this node is quantized, and all nodes except this one are. Dynamic
    ranges come from one calibration with --data, or from --cache. All samples stay in memory: use --limit.
    With --max-drop or --min-sqnr, the command searches for the largest set of INT8 nodes within that limit,
    and -o writes it as a precision plan for quantize --plan and build --plan. It exits with code 1 if no node
    can stay in INT8, or if the plan has a lower SQNR than --min-sqnr as it will be built.

    \b
    Examples:
      trt-int8 sensitivity model.onnx --data samples.npz
      trt-int8 sensitivity model.onnx --data test.npz --labels labels --max-drop 0.005 -o plan.yaml
    """
    from trt_int8.evaluation.sensitivity import Budget, rank, samples_needed, search
    from trt_int8.evaluation.sensitivity.search import evaluations_of_ranking
    from trt_int8.graph.model import Model
    from trt_int8.pipeline import Profile, QuantizationOptions, prepare
    from trt_int8.pipeline.sensitivity import check_plan, measure_sensitivity
    from trt_int8.record import decibels

    options.require_source(data, cache, algorithm=algorithm)
    accuracy.check(data)
    max_drop = accuracy.max_drop
    failures = list[str]()
    searching = max_drop is not None or accuracy.min_sqnr is not None
    if searching != (output is not None):
        raise click.UsageError(
            "a precision plan needs a limit and a file: give --max-drop or --min-sqnr, and -o"
        )
    options.check_outputs({"precision plan": output, "state": state})
    metric = accuracy.function()
    loaded = Model.of(model)
    shape_ranges = shapes.parse()
    opened = data.open(loaded, shape_ranges)
    labels = accuracy.read_labels(data)
    prepared = prepare(
        loaded,
        batches=opened.divided_for(algorithm),
        ranges=options.read_ranges(cache),
        target=target,
        options=QuantizationOptions(algorithm=algorithm, placement=placement),
        profile=Profile(shapes=shape_ranges, rename_dims=shapes.rename_dims),
    )
    say(prepared.target.text, err=True)
    batches = opened.while_("reading")
    measurements = measure_sensitivity(
        prepared, batches, labels=labels, metric=metric, output=accuracy.scores, state=state
    )
    if max_drop is not None and labels is not None and len(labels) < (needed := samples_needed(max_drop)):
        say(
            f"{len(labels)} samples are too few to show that top-1 drops by {max_drop:g} at most: even if it "
            f"drops on none of them, it may drop by up to {3 / len(labels):.2g} on other data; give {needed}",
            err=True,
        )
    count = len(measurements.nodes)
    say(f"{count} nodes: {evaluations_of_ranking(count)} models to evaluate", err=True)
    if searching:
        say(f"search for a plan: at most {2 * count} more", err=True)
    ranking = rank(measurements)
    document = {"schema": 1, "target": prepared.target.name, "nodes": [entry.to_dict() for entry in ranking]}
    if form == "text":
        _print(measurements, ranking)
    if searching:
        budget = Budget(max_drop=max_drop, min_sqnr_db=accuracy.min_sqnr)
        found = search(measurements, ranking, budget)
        assert output is not None
        plan, lines = check_plan(prepared, measurements, found, budget, source=output)
        plan.write(output)
        document["floats"] = list(found.floats)
        document["reached"] = dict(plan.reached)
        if form == "text":
            say(
                f"{output}: {count - len(found.floats)} of {count} nodes in INT8, SQNR "
                f"{decibels(found.score.sqnr_db)}{_drop(found.score.drop)}; "
                f"float: {', '.join(found.floats) or 'none'}"
            )
        reached = plan.reached.get("held_back_sqnr_db", found.score.sqnr_db)
        if len(found.floats) == count:
            failures.append(f"no plan with a node in INT8 is within the limit, so {output} cannot be built")
        elif accuracy.min_sqnr is not None and not reached >= accuracy.min_sqnr:
            failures.append(f"SQNR is {decibels(reached)} as built, below --min-sqnr {accuracy.min_sqnr:g}")
        for line in lines:
            say(f"as it will be built: {line}", err=form == "json")
    if form == "json":
        options.print_json(document)
    say(f"{measurements.evaluations} models were evaluated", err=True)
    options.exit_unless_met(failures)


def _print(measurements: Measurements, ranking: tuple[NodeSensitivity, ...]) -> None:
    from trt_int8.record import decibels

    whole = measurements.score([])
    say(f"all in INT8: SQNR {decibels(whole.sqnr_db)}" + _drop(whole.drop))
    for entry in ranking:
        alone, gain = decibels(entry.alone.sqnr_db), decibels(entry.gain_db, form="+.2f")
        say(f"{entry.node} ({entry.op_type}): alone {alone}{_drop(entry.alone.drop)}; left in float {gain}")
    for skipped in measurements.skipped:
        say(f"not quantized: {skipped}", err=True)


def _drop(drop: float) -> str:
    return "" if drop != drop else f", drop {drop:.4g}"  # NaN: there is no metric

"""``trt-int8 sensitivity``: which nodes cost accuracy, and a plan that leaves those in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trt_int8.choices import PLACEMENTS
from trt_int8.cli import options
from trt_int8.cli.command import command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Bound, option

if TYPE_CHECKING:
    from trt_int8.evaluation.sensitivity import Measurements, NodeSensitivity


@command()
@options.model
@options.cache
@option(
    "--labels",
    panel=Panel.ACCURACY,
    metavar="FILE|KEY",
    help="The right class of each sample, as for evaluate: nodes are ranked by top-1.",
)
@option(
    "--metric",
    panel=Panel.ACCURACY,
    metavar="MODULE:FUNCTION",
    help="Your own figure: function(outputs, labels), higher is better.",
)
@option(
    "--scores",
    panel=Panel.ACCURACY,
    metavar="NAME",
    help="The output that holds class scores (default: the first).",
)
@option(
    "--max-drop",
    panel=Panel.REQUIREMENTS,
    type=Bound(min=0),
    metavar="X",
    help="Search a plan: the metric, or top-1 as a share, falls by X at most.",
)
@option(
    "--min-sqnr",
    panel=Panel.REQUIREMENTS,
    type=Bound(min=0),
    metavar="DB",
    help="Search a plan: every output has DB at least.",
)
@option(
    "-o",
    "--output",
    panel=Panel.MODEL,
    type=click.Path(),
    metavar="FILE",
    help="The precision plan to write (YAML).",
)
@option(
    "--state",
    panel=Panel.MODEL,
    type=click.Path(),
    metavar="FILE",
    help="Keep what was measured here; an interrupted run goes on from it.",
)
@options.target
@option(
    "--placement",
    panel=Panel.TARGET,
    type=click.Choice(PLACEMENTS),
    help="Rules for Q/DQ pairs [default: those that fit the target].",
)
@option(
    "--format",
    "form",
    panel=Panel.MODEL,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)
@options.algorithm_of_route
@options.shapes
@options.data(required=True)
def sensitivity(
    model: str,
    cache: str | None,
    labels: str | None,
    metric: str | None,
    scores: str | None,
    max_drop: float | None,
    min_sqnr: float | None,
    output: str | None,
    state: str | None,
    target: str | None,
    placement: str | None,
    form: str,
    algorithm: str | None,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Quantize MODEL one node at a time, and all but one, and rank the nodes by what they cost.

    Ranges come from one calibration with --data, or from --cache. The data stays in memory: use --limit.
    With --max-drop or --min-sqnr the largest set of INT8 nodes within the budget is searched, and -o writes
    it as a precision plan for quantize --plan and build --plan.

    \b
    Examples:
      trt-int8 sensitivity model.onnx --data samples.npz
      trt-int8 sensitivity model.onnx --data test.npz --labels labels --max-drop 0.005 -o plan.yaml
    """
    import json

    from trt_int8.batches.arrays import read_labels
    from trt_int8.evaluation.metrics import load_metric
    from trt_int8.evaluation.sensitivity import Budget, rank, samples_needed, search
    from trt_int8.evaluation.sensitivity.search import evaluations_of_ranking
    from trt_int8.graph.model import Model
    from trt_int8.pipeline import Profile, QuantizationOptions, prepare
    from trt_int8.pipeline.sensitivity import check_plan, measure_sensitivity
    from trt_int8.ranges import CalibrationCache
    from trt_int8.record import decibels

    options.require_source(data, cache, algorithm=algorithm)
    searching = max_drop is not None or min_sqnr is not None
    if max_drop is not None and labels is None and metric is None:
        raise click.UsageError("--max-drop needs --labels (for top-1) or --metric; for SQNR give --min-sqnr")
    if searching != (output is not None):
        raise click.UsageError("-o writes the plan that --max-drop or --min-sqnr searches: give both")
    if labels is not None and (data.shuffle is not None or data.last == "pad" or data.skip_bad):
        raise click.UsageError(
            "--labels follow the samples as they are; leave out --shuffle, --last pad and --skip-bad"
        )
    results = {what: path for what, path in (("precision plan", output), ("state", state)) if path}
    options.check_outputs(results, model=model, data=data.data, cache=cache)
    figure = None if metric is None else load_metric(metric)
    loaded = Model.of(model)
    opened = data.open(loaded, shapes.parse())
    right = None if labels is None or data.data is None else read_labels(labels, data.data)
    if right is not None and data.limit is not None:
        right = right[: data.limit]
    prepared = prepare(
        loaded,
        batches=opened.divided_for(algorithm),
        ranges=None if cache is None else CalibrationCache.read(cache).ranges(),
        target=target,
        options=QuantizationOptions(algorithm=algorithm, placement=placement),
        profile=Profile(shapes=shapes.parse(), rename_dims=shapes.rename_dims),
    )
    click.echo(prepared.target.text, err=True)
    measurements = measure_sensitivity(
        prepared, opened.while_("reading"), labels=right, metric=figure, output=scores, state=state
    )
    if max_drop is not None and right is not None and len(right) < (needed := samples_needed(max_drop)):
        click.echo(
            f"{len(right)} samples cannot show that top-1 falls by {max_drop:g} at most: it may fall by "
            f"up to {3 / len(right):.2g} on other data even if it falls on none of these; give {needed}",
            err=True,
        )
    count = len(measurements.nodes)
    click.echo(f"{count} nodes: {evaluations_of_ranking(count)} models to run", err=True)
    if searching:
        click.echo(f"searching: {2 * count} more at most", err=True)
    ranking = rank(measurements)
    document = {"schema": 1, "target": prepared.target.name, "nodes": [entry.to_dict() for entry in ranking]}
    if form == "text":
        _print(measurements, ranking)
    if searching:
        budget = Budget(max_drop=max_drop, min_sqnr_db=min_sqnr)
        found = search(measurements, ranking, budget)
        assert output is not None
        plan, lines = check_plan(prepared, measurements, found, budget, source=output)
        plan.write(output)
        document["floats"] = list(found.floats)
        document["reached"] = dict(plan.reached)
        if form == "text":
            drop = "" if found.score.drop != found.score.drop else f", drop {found.score.drop:.4g}"
            click.echo(
                f"{output}: {count - len(found.floats)} of {count} nodes in INT8, SQNR "
                f"{decibels(found.score.sqnr_db)}{drop}; float: {', '.join(found.floats) or 'none'}"
            )
        for line in lines:
            click.echo(f"as it will be built: {line}", err=form == "json")
    if form == "json":
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    click.echo(f"{measurements.evaluations} models were run", err=True)


def _print(measurements: Measurements, ranking: tuple[NodeSensitivity, ...]) -> None:
    whole = measurements.score([])
    click.echo(f"all in INT8: SQNR {whole.sqnr_db:.2f} dB" + _drop(whole.drop))
    for entry in ranking:
        click.echo(
            f"{entry.node} ({entry.op_type}): alone {entry.alone.sqnr_db:.2f} dB{_drop(entry.alone.drop)}; "
            f"left in float {entry.gain_db:+.2f} dB"
        )
    for skipped in measurements.skipped:
        click.echo(f"stays float: {skipped}", err=True)


def _drop(drop: float) -> str:
    return "" if drop != drop else f", drop {drop:.4g}"

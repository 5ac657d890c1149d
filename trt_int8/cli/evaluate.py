"""``trt-int8 evaluate``: float model against Q/DQ model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trt_int8.cli import options
from trt_int8.cli.command import command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Bound, argument, option

if TYPE_CHECKING:
    from trt_int8.evaluation import Evaluation
    from trt_int8.evaluation.layers import LayerDifference


@command()
@argument("model", type=click.Path())
@argument("quantized", type=click.Path())
@option(
    "--labels",
    panel=Panel.ACCURACY,
    metavar="FILE|KEY",
    help="The right class of each sample: an .npy file, or a key of the --data .npz. Adds top-1 accuracy.",
)
@option(
    "--scores",
    panel=Panel.ACCURACY,
    metavar="NAME",
    help="The output that holds class scores (default: the first).",
)
@option(
    "--metric",
    panel=Panel.ACCURACY,
    metavar="MODULE:FUNCTION",
    help="Your own figure: function(outputs, labels) → number, higher is better; file.py:function too.",
)
@option(
    "--per-layer", panel=Panel.ACCURACY, is_flag=True, help="Follow SQNR through the network (ONNX models)."
)
@option(
    "--min-sqnr",
    panel=Panel.REQUIREMENTS,
    type=Bound(min=0),
    metavar="DB",
    help="Exit with 1 if an output has less.",
)
@option(
    "--max-drop",
    panel=Panel.REQUIREMENTS,
    type=Bound(min=0),
    metavar="X",
    help="Exit with 1 if the metric, or else top-1 as a share, falls by more.",
)
@option(
    "--format",
    "form",
    panel=Panel.MODEL,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)
@options.shapes
@options.data(required=True)
@click.pass_context
def evaluate(
    context: click.Context,
    model: str,
    quantized: str,
    labels: str | None,
    scores: str | None,
    metric: str | None,
    per_layer: bool,
    min_sqnr: float | None,
    max_drop: float | None,
    form: str,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Compare MODEL with its QUANTIZED form: SQNR, cosine and largest error of each output, top-1 and top-5.

    ONNX models run in onnxruntime. Either may be an engine (.engine, .plan, .trt) where there is a GPU.

    \b
    Examples:
      trt-int8 evaluate model.onnx model.qdq.onnx --data test.npz --labels labels
      trt-int8 evaluate model.onnx model.qdq.onnx --data test.npz --per-layer --min-sqnr 25
    """
    import json

    from trt_int8.batches.arrays import read_labels
    from trt_int8.evaluation import evaluate as run
    from trt_int8.evaluation.engine import is_engine
    from trt_int8.evaluation.layers import compare_layers
    from trt_int8.evaluation.metrics import load_metric
    from trt_int8.graph import load_model

    if labels is not None and (data.shuffle is not None or data.last == "pad" or data.skip_bad):
        raise click.UsageError(
            "--labels follow the samples as they are; leave out --shuffle, --last pad and --skip-bad"
        )
    if max_drop is not None and labels is None and metric is None:
        raise click.UsageError("--max-drop needs --labels (for top-1) or --metric")
    engines = [path for path in (model, quantized) if is_engine(path)]
    if per_layer and engines:
        raise click.UsageError(f"--per-layer looks into ONNX models, and {engines[0]} is an engine")
    if len(engines) == 2:
        raise click.UsageError("one of the two must be an ONNX model, which says how to read the data")
    figure = None if metric is None else load_metric(metric)
    loaded = load_model(quantized if is_engine(model) else model)
    opened = data.open(loaded, shapes.parse())
    right = None if labels is None or data.data is None else read_labels(labels, data.data)
    if right is not None and data.limit is not None:
        right = right[: data.limit]
    first = model if is_engine(model) else loaded
    result = run(first, quantized, opened.while_("comparing"), labels=right, output=scores, metric=figure)
    layers = None
    if per_layer:
        layers = compare_layers(loaded, load_model(quantized), opened.while_("comparing layers"))
    if form == "json":
        document = result.to_dict()
        if layers is not None:
            document["layers"] = [layer.to_dict() for layer in layers]
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(result, layers, executed=bool(engines))
    offences = []
    if min_sqnr is not None and not result.sqnr_db >= min_sqnr:
        offences.append(f"SQNR is {result.sqnr_db:.2f} dB, below --min-sqnr {min_sqnr:g}")
    if max_drop is not None and result.drop is not None and not result.drop <= max_drop:
        offences.append(f"the drop is {result.drop:.4g}, above --max-drop {max_drop:g}")
    for offence in offences:
        click.echo(f"not met: {offence}", err=True)
    if offences:
        context.exit(1)


def _print(result: Evaluation, layers: tuple[LayerDifference, ...] | None, *, executed: bool) -> None:
    from trt_int8.record import decibels

    how = "" if executed else ", simulated in onnxruntime (nothing was executed by TensorRT)"
    click.echo(f"{result.samples} samples{how}")
    for name, difference in result.outputs.items():
        click.echo(
            f"{name}: SQNR {difference.sqnr_db:.2f} dB, cosine {difference.cosine:.6f}, "
            f"largest error {difference.max_abs_error:.4g}"
        )
    if result.held_back is not None:
        figures = ", ".join(f"{name} {decibels(db)}" for name, db in result.held_back.sqnr_db.items())
        click.echo(f"on the {result.held_back.samples} samples held back from quantization: {figures}")
    for kind, top in (("top-1", result.top1), ("top-5", result.top5)):
        if top is not None:
            click.echo(
                f"{kind} on {top.output}: float {top.reference:.2%}, "
                f"quantized {top.quantized:.2%}, same answer on {top.agreement:.2%}"
            )
    if result.metric is not None:
        click.echo(f"metric: float {result.metric.reference:.6g}, quantized {result.metric.quantized:.6g}")
    if layers is None:
        return
    worst = sorted((layer.drop_db for layer in layers), reverse=True)[:5]
    for layer in layers:
        mark = f"  drops by {layer.drop_db:.2f} dB" if layer.drop_db and layer.drop_db in worst else ""
        mark = "  the loss begins here" if layer.begins else mark
        click.echo(f"{layer.sqnr_db:8.2f} dB  {layer.op_type:<20} {layer.tensor} ({layer.node}){mark}")

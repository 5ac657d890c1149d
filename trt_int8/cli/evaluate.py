"""``trt-int8 evaluate``: compare the float model with the quantized one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from trt_int8.cli import options
from trt_int8.cli.accuracy_options import AccuracyOptions, accuracy
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import argument, option
from trt_int8.cli.terminal import say

if TYPE_CHECKING:
    from trt_int8.evaluation import Evaluation
    from trt_int8.evaluation.evaluation import OutputDifference
    from trt_int8.evaluation.layers import LayerDifference


@click.command(cls=Command)
@argument("model", type=click.Path())
@argument("quantized", type=click.Path())
@accuracy(
    max_drop="Exit with code 1 if the metric drops by more than X.",
    min_sqnr="Exit with code 1 if the SQNR of an output is below DB decibels.",
)
@option(
    "--per-layer",
    panel=Panel.ACCURACY,
    is_flag=True,
    help="Print the SQNR of each layer too. Both models must be ONNX models.",
)
@options.output_format(panel=Panel.MODEL)
@options.shapes
@options.data(required=True)
def evaluate(
    model: str,
    quantized: str,
    accuracy: AccuracyOptions,
    per_layer: bool,
    form: str,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Compare MODEL with its QUANTIZED form: SQNR, cosine and largest error of each output, top-1 and top-5.

    ONNX models run in onnxruntime. On a machine with a GPU, one of the two may be an engine (.engine, .plan,
    .trt).

    \b
    Examples:
      trt-int8 evaluate model.onnx model.qdq.onnx --data test.npz --labels labels
      trt-int8 evaluate model.onnx model.qdq.onnx --data test.npz --per-layer --min-sqnr 25
    """
    from trt_int8.evaluation import evaluate as run
    from trt_int8.evaluation.engine import is_engine
    from trt_int8.evaluation.layers import compare_layers
    from trt_int8.graph import load_model
    from trt_int8.record import decibels

    accuracy.check(data)
    engines = [path for path in (model, quantized) if is_engine(path)]
    if per_layer and engines:
        raise click.UsageError(f"--per-layer works for ONNX models only, and {engines[0]} is an engine")
    if len(engines) == 2:
        raise click.UsageError("one of the two must be an ONNX model: names and types of inputs come from it")
    metric = accuracy.function()
    first, second = (path if path in engines else load_model(path) for path in (model, quantized))
    loaded = second if isinstance(first, str) else first
    assert not isinstance(loaded, str)
    opened = data.open(loaded, shapes.parse())
    labels = accuracy.read_labels(data)
    batches = opened.while_("comparing")
    result = run(first, second, batches, labels=labels, output=accuracy.scores, metric=metric)
    layers = None
    if per_layer and not isinstance(second, str):
        layers = compare_layers(loaded, second, opened.while_("comparing layers"))
    if form == "json":
        more = {} if layers is None else {"layers": [layer.to_dict() for layer in layers]}
        options.print_json(result.to_dict() | more)
    else:
        _print(result, layers, executed=bool(engines))
    failures = []
    if accuracy.min_sqnr is not None and not result.sqnr_db >= accuracy.min_sqnr:
        failures.append(f"SQNR is {decibels(result.sqnr_db)}, below --min-sqnr {accuracy.min_sqnr:g}")
    if accuracy.max_drop is not None and result.drop is not None and not result.drop <= accuracy.max_drop:
        failures.append(f"the drop is {result.drop:.4g}, above --max-drop {accuracy.max_drop:g}")
    options.exit_unless_met(failures)


def _print(result: Evaluation, layers: tuple[LayerDifference, ...] | None, *, executed: bool) -> None:
    from trt_int8.record import decibels

    how = "" if executed else ", simulated in onnxruntime (nothing was executed by TensorRT)"
    say(f"{result.samples} samples{how}")
    for name, difference in result.outputs.items():
        say(f"{name}: {_difference(difference)}")
    if result.held_back is not None:
        figures = ", ".join(f"{name} {decibels(db)}" for name, db in result.held_back.sqnr_db.items())
        which = "held back from quantization" if result.held_back.unseen else "of the model's record"
        say(f"on the {result.held_back.samples} samples {which}: {figures}")
    for kind, top in (("top-1", result.top1), ("top-5", result.top5)):
        if top is not None:
            say(
                f"{kind} on {top.output}: float {top.reference:.2%}, "
                f"quantized {top.quantized:.2%}, same answer on {top.agreement:.2%}"
            )
    if result.metric is not None:
        say(f"metric: float {result.metric.reference:.6g}, quantized {result.metric.quantized:.6g}")
    if layers is None:
        return
    worst = sorted((layer.drop_db for layer in layers), reverse=True)[:5]
    for layer in layers:
        mark = f"  drops by {decibels(layer.drop_db)}" if layer.drop_db and layer.drop_db in worst else ""
        mark = "  the loss begins here" if layer.begins else mark
        sqnr = decibels(layer.sqnr_db, form="8.2f")
        say(f"{sqnr:<11}  {layer.op_type:<20} {layer.tensor} ({layer.node}){mark}")


def _difference(difference: OutputDifference) -> str:
    """Return the three figures of an output, without inf and NaN."""
    from trt_int8.record import decibels

    if difference.sqnr_db == math.inf:
        return "exactly equal, no error"
    cosine = decibels(difference.cosine, form=".6f", unit="")
    largest = f"{difference.max_abs_error:.4g}".replace("inf", "infinite")
    return f"SQNR {decibels(difference.sqnr_db)}, cosine {cosine}, largest error {largest}"

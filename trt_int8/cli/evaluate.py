"""``trt-int8 evaluate``: float model against Q/DQ model."""

from __future__ import annotations

import click

from trt_int8.cli import options


@click.command()
@click.argument("model", type=click.Path())
@click.argument("quantized", type=click.Path())
@click.option(
    "--labels",
    metavar="FILE|KEY",
    help="The right class of each sample: an .npy file, or a key of the --data .npz. Adds top-1 accuracy.",
)
@click.option("--scores", metavar="NAME", help="The output that holds class scores (default: the first).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@options.shapes
@options.data(required=True)
def evaluate(
    model: str,
    quantized: str,
    labels: str | None,
    scores: str | None,
    form: str,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Compare MODEL with its QUANTIZED form in onnxruntime: SQNR and cosine of each output, top-1.

    Nothing is executed by TensorRT.

    \b
    Example:
      trt-int8 evaluate model.onnx model.qdq.onnx --data test.npz --labels labels
    """
    import json

    from trt_int8.batches.arrays import read_labels
    from trt_int8.evaluation import evaluate as run
    from trt_int8.model import load_model

    if labels is not None and (data.shuffle is not None or data.last == "pad" or data.skip_bad):
        raise click.UsageError(
            "--labels follow the samples as they are; leave out --shuffle, --last pad and --skip-bad"
        )
    loaded = load_model(model)
    opened = data.open(loaded, shapes.parse())
    right = None if labels is None or data.data is None else read_labels(labels, data.data)
    if right is not None and data.limit is not None:
        right = right[: data.limit]
    result = run(loaded, quantized, opened.batches("comparing"), labels=right, output=scores)
    if form == "json":
        click.echo(json.dumps(result.to_dict(), indent=2))
        return
    click.echo(f"{result.samples} samples, simulated in onnxruntime (nothing was executed by TensorRT)")
    for name, difference in result.outputs.items():
        click.echo(
            f"{name}: SQNR {difference.sqnr_db:.2f} dB, cosine {difference.cosine:.6f}, "
            f"largest error {difference.max_abs_error:.4g}"
        )
    if result.top1 is not None:
        click.echo(
            f"top-1 on {result.top1.output}: float {result.top1.reference:.2%}, "
            f"quantized {result.top1.quantized:.2%}, same answer on {result.top1.agreement:.2%}"
        )

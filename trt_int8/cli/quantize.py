"""``trt-int8 quantize``: float model in, Q/DQ model out."""

from __future__ import annotations

import click

from trt_int8.cli import calibration_options, options, placement
from trt_int8.cli.command import command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import option


@command()
@options.model
@options.output("The Q/DQ model to write.")
@options.target
@options.cache
@placement.options
@placement.high_precision
@placement.scale_dtype
@option(
    "--recentre",
    panel=Panel.QUANTIZATION,
    multiple=True,
    metavar="GLOB",
    help="Quantize x − μ in place of these tensors where that raises the output's SQNR; may be given again.",
)
@options.bias_correction
@options.algorithm_of_route
@options.shapes
@calibration_options.calibration
@options.data(required=False)
def quantize(
    model: str,
    output: str,
    target: str | None,
    cache: str | None,
    choice: placement.Choice,
    high_precision: str,
    scale_dtype: str,
    recentre: tuple[str, ...],
    bias_correction: bool | None,
    algorithm: str | None,
    shapes: options.ShapeOptions,
    calibration: calibration_options.CalibrationArguments,
    data: options.DataOptions,
) -> None:
    """Insert Q/DQ pairs into MODEL, correct biases, and measure what INT8 loses.

    Ranges are calibrated with --data, or come from a calibration cache. With both, the samples correct biases
    and measure the loss; with a cache alone, neither is done.

    \b
    Examples:
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --cache model.cache --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx --exclude 'head*' --recentre '*'
    """
    from trt_int8.graph.model import Model
    from trt_int8.graph.save import save_like
    from trt_int8.pipeline import Profile, QuantizationOptions, quantize_from_data
    from trt_int8.ranges import CalibrationCache
    from trt_int8.target import resolve_target

    options.require_source(
        data,
        cache,
        algorithm=algorithm,
        checkpoint=calibration.checkpoint,
        max_memory=calibration.max_memory,
        workers=calibration.workers,
        dask=calibration.dask,
        recentre=recentre or None,
    )
    if scale_dtype == "fp16" and high_precision != "fp16":
        raise click.UsageError("--scale-dtype fp16 is for --high-precision fp16: give both or leave it out")
    if bias_correction and not data.given:
        raise click.UsageError("--bias-correction measures what it gains: give --data")
    options.check_outputs(
        {"Q/DQ model": output, **calibration.outputs()}, model=model, data=data.data, cache=cache
    )
    loaded = Model.of(model)
    resolved = resolve_target(target)
    profile = shapes.parse()
    opened = None
    if data.given:
        opened = calibration.telling(data.open(loaded, profile))
        opened = opened.divided_for(algorithm, recentred=bool(recentre))
    made = quantize_from_data(
        loaded,
        opened,
        ranges=None if cache is None else CalibrationCache.read(cache).ranges(),
        target=resolved,
        options=QuantizationOptions(
            algorithm=algorithm,
            placement=choice.placement(resolved),
            selection=choice.selection(),
            plan=choice.read_plan(),
            bias_correction=bias_correction,
            recentred=recentre,
            high_precision=high_precision,
            scale_dtype=scale_dtype,
        ),
        calibration=calibration.pipeline(),
        profile=Profile(shapes=profile, rename_dims=shapes.rename_dims),
        tell=options.tell,
    )
    save_like(made.model, output, source=model)
    if not data.given:
        click.echo(
            "note: a cache alone gives weaker models: add --data SAMPLES, which corrects biases and measures "
            "the loss, or leave --cache out",
            err=True,
        )
    for tensor in made.passed_over:
        click.echo(f"not recentred: {tensor}", err=True)
    options.report_skipped(made.quantized)
    nodes, skipped = len(made.quantized.nodes), len(made.quantized.skipped)
    click.echo(f"{output}: {nodes} nodes quantized, {skipped} left in float")

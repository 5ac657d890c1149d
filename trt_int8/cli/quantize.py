"""``trt-int8 quantize``: float model in, Q/DQ model out."""

from __future__ import annotations

import click

from trt_int8.cli import calibration_options, options, placement
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import globs_option
from trt_int8.cli.terminal import say


@click.command(cls=Command)
@options.model
@options.output("The Q/DQ model to write.")
@options.target
@options.cache
@placement.options
@placement.high_precision
@placement.scale_dtype
@globs_option(
    "--recentre",
    panel=Panel.QUANTIZATION,
    help="Quantize x − μ instead of x for tensors that match GLOB, where that raises the outputs' SQNR",
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
    """Insert Q/DQ pairs into MODEL, correct biases, and measure the loss of INT8 as SQNR.

    Dynamic ranges are calibrated with --data, or come from a calibration cache (--cache). With both, the
    samples are used to correct biases and to measure the loss. With a cache alone, neither is done.

    \b
    Examples:
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --cache model.cache --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx --exclude 'head*' --recentre '*'
    """
    from trt_int8.graph.model import Model
    from trt_int8.graph.save import save_like
    from trt_int8.pipeline import CalibrationOptions, Profile, QuantizationOptions, quantize_from_data
    from trt_int8.target import resolve_target

    options.require_source(
        data,
        cache,
        algorithm=algorithm,
        recentre=recentre or None,
        **vars(calibration),
    )
    if scale_dtype == "fp16" and high_precision != "fp16":
        raise click.UsageError(
            "--scale-dtype fp16 needs --high-precision fp16: give both, or leave --scale-dtype out"
        )
    if bias_correction and not data.given:
        raise click.UsageError("--bias-correction needs samples: give --data")
    options.check_outputs({"Q/DQ model": output, "checkpoint": calibration.checkpoint})
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
        ranges=options.read_ranges(cache),
        target=resolved,
        options=QuantizationOptions(
            algorithm=algorithm,
            placement=choice.rules(resolved),
            selection=choice.selection(),
            bias_correction=bias_correction,
            recentred=recentre,
            high_precision=high_precision,
            scale_dtype=scale_dtype,
        ),
        calibration=CalibrationOptions(
            max_memory=calibration.max_memory,
            checkpoint=calibration.checkpoint,
            scheduler=calibration.dask,
            workers=calibration.workers,
        ),
        profile=Profile(shapes=profile, rename_dims=shapes.rename_dims),
        tell=options.tell,
    )
    save_like(made.model, output, source=model)
    if not data.given:
        say(
            "note: with a cache alone, biases are not corrected and the loss is not measured: add --data "
            "SAMPLES",
            err=True,
        )
    for tensor in made.passed_over:
        say(f"not recentred: tensor {tensor}", err=True)
    options.report_skipped(made.quantized)
    nodes, skipped = len(made.quantized.nodes), len(made.quantized.skipped)
    say(f"{output}: {nodes} nodes quantized, {skipped} left in float")

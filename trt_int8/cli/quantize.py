"""``trt-int8 quantize``: float model in, Q/DQ model out."""

from __future__ import annotations

import click

from trt_int8.cli import calibration_options, half, options, placement


@click.command()
@options.model
@options.output("The Q/DQ model to write.")
@options.cache
@placement.options
@half.high_precision
@half.scales
@click.option(
    "--recentre",
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
    cache: str | None,
    choice: placement.Choice,
    high_precision: str,
    scale_type: str,
    recentre: tuple[str, ...],
    bias_correction: bool | None,
    algorithm: str | None,
    shapes: options.ShapeOptions,
    calibration: calibration_options.CalibrationOptions,
    data: options.DataOptions,
) -> None:
    """Insert Q/DQ pairs into MODEL, with ranges from samples or from a calibration cache.

    \b
    Examples:
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --cache model.cache -o model.qdq.onnx --exclude 'head*'
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx --recentre '*'
    """
    from trt_int8.batches.check import checked
    from trt_int8.calibration.thresholds import EXPLICIT
    from trt_int8.model import load_model
    from trt_int8.model.dims import rename_unequal_dims
    from trt_int8.quantization import quantize as run
    from trt_int8.quantization import required_tensors, to_half
    from trt_int8.quantization.save import save_like
    from trt_int8.ranges import CalibrationCache
    from trt_int8.remedies import quantize_with_remedies
    from trt_int8.remedies.first import correct_by_first, first_batches
    from trt_int8.remedies.split import PARTS, split

    options.require_one(
        data,
        cache,
        algorithm=algorithm,
        checkpoint=calibration.checkpoint,
        max_memory=calibration.max_memory,
        workers=calibration.workers,
        dask=calibration.dask,
    )
    if scale_type == "fp16" and high_precision != "fp16":
        raise click.UsageError("--scales fp16 is for --high-precision fp16: give both or leave it out")
    options.check_outputs(
        {"Q/DQ model": output, **calibration.outputs()}, model=model, data=data.data, cache=cache
    )
    loaded = load_model(model)
    rules, selection = choice.placement(), choice.selection()
    if (recentre or bias_correction) and not data.given:
        raise click.UsageError("--recentre and --bias-correction measure what they gain: give --data")
    profile = shapes.parse()
    method = algorithm or EXPLICIT
    renamed = rename_unequal_dims(loaded, profile) if shapes.rename_dims else loaded
    if cache is not None:
        ranges = CalibrationCache.read(cache).ranges()
        quantized = run(renamed, ranges, placement=rules, selection=selection)
    elif not recentre:
        tensors = required_tensors(loaded, placement=rules, selection=selection)
        opened = data.open(loaded, profile)
        ranges = calibration.run(loaded, opened, algorithm=method, tensors=tensors).ranges
        quantized = run(renamed, ranges, placement=rules, selection=selection)
        if bias_correction is not False:
            first = first_batches(checked(opened.batches("reading"), opened.specs))
            quantized, line = correct_by_first(renamed, quantized, first)
            click.echo(line)
    else:
        opened = data.open(loaded, profile).in_parts(PARTS)
        parts = split(opened, opened.specs, reading=opened.batches("reading"))
        calibrated = calibration.run(loaded, parts, algorithm=method)
        remedied = quantize_with_remedies(
            renamed,
            calibrated.ranges,
            calibrated.histograms,
            parts.first,
            held_out=parts.judging,
            recentred=recentre,
            bias_correction=bias_correction is not False,
            placement=rules,
            selection=selection,
        )
        quantized = remedied.quantized
        for tensor in remedied.passed_over:
            click.echo(f"not recentred: {tensor}", err=True)
        click.echo(parts.text)
        for line in remedied.lines:
            click.echo(line)
    result = quantized.model if high_precision == "fp32" else to_half(quantized.model, scales=scale_type)
    save_like(result, output, source=model)
    options.report_skipped(quantized)
    click.echo(f"{output}: {len(quantized.nodes)} nodes quantized, {len(quantized.skipped)} left in float")

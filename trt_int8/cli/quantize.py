"""``trt-int8 quantize``: float model in, Q/DQ model out."""

from __future__ import annotations

import click

from trt_int8.cli import options


@click.command()
@options.model
@options.output("The Q/DQ model to write.")
@options.cache
@options.algorithm
@options.data(required=False)
def quantize(model: str, output: str, cache: str | None, algorithm: str, data: options.DataOptions) -> None:
    """Insert Q/DQ pairs into MODEL, with ranges from samples or from a calibration cache.

    \b
    Examples:
      trt-int8 quantize model.onnx --data samples.npz -o model.qdq.onnx
      trt-int8 quantize model.onnx --cache model.cache -o model.qdq.onnx
    """
    from trt_int8.calibration import calibrate
    from trt_int8.model import load_model, save_model
    from trt_int8.quantization import quantize as run
    from trt_int8.ranges import CalibrationCache

    options.require_one(data, cache)
    options.check_outputs({"Q/DQ model": output}, model=model, data=data.data, cache=cache)
    loaded = load_model(model)
    if cache is not None:
        ranges = CalibrationCache.read(cache).ranges()
    else:
        ranges = calibrate(loaded, data.open(loaded).batches(), algorithm=algorithm).ranges
    quantized = run(loaded, ranges)
    save_model(quantized.model, output)
    options.report_skipped(quantized)
    click.echo(f"{output}: {len(quantized.nodes)} nodes quantized, {len(quantized.skipped)} left in float")

"""``trt-int8 migrate``: calibration cache in, Q/DQ model with the same scales out."""

from __future__ import annotations

import click

from trt_int8.cli import options, placement


@click.command()
@options.model
@click.argument("cache", type=click.Path())
@options.output("The Q/DQ model to write.")
@click.option(
    "--log",
    metavar="FILE",
    type=click.Path(),
    help="Verbose log of the implicit build: what ran in INT8 there gets Q/DQ, nothing else.",
)
@placement.options
def migrate(model: str, cache: str, output: str, log: str | None, choice: placement.Choice) -> None:
    """Turn MODEL and its calibration CACHE into a Q/DQ model with exactly the cache's scales.

    \b
    Examples:
      trt-int8 migrate model.onnx model.cache -o model.qdq.onnx
      trt-int8 migrate model.onnx model.cache -o model.qdq.onnx --log implicit-build.log
    """
    from trt_int8.model import load_model
    from trt_int8.quantization.migration import migrate as run
    from trt_int8.quantization.save import save_like
    from trt_int8.ranges import CalibrationCache
    from trt_int8.report import PrecisionReport

    options.check_outputs({"Q/DQ model": output}, model=model, cache=cache, log=log)
    result = run(
        load_model(model),
        CalibrationCache.read(cache),
        log=None if log is None else PrecisionReport.from_log(log),
        placement=choice.placement(),
        selection=choice.selection(),
    )
    save_like(result.model, output, source=model)
    click.echo(result.to_text(), nl=False)
    click.echo(output)

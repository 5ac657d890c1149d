"""``trt-int8 migrate``: calibration cache in, Q/DQ model with the same scales out."""

from __future__ import annotations

import click

from trt_int8.cli import options, placement
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import argument, file_option
from trt_int8.cli.terminal import say
from trt_int8.cli.wording import in_options


@click.command(cls=Command)
@options.model
@argument("cache", type=click.Path())
@options.output("The Q/DQ model to write.")
@file_option(
    "--log",
    panel=Panel.MODEL,
    help="Verbose log of the implicit build, or its layer information in JSON. Only nodes that ran in INT8 "
    "there get Q/DQ pairs.",
)
@options.target
@placement.options
@placement.high_precision
@placement.scale_dtype
@options.shapes
@options.data(required=False)
def migrate(
    model: str,
    cache: str,
    output: str,
    log: str | None,
    target: str | None,
    choice: placement.Choice,
    high_precision: str,
    scale_dtype: str,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
) -> None:
    """Convert MODEL and its calibration CACHE to a Q/DQ model with exactly the scales of the cache.

    With --data, the loss of INT8 is measured on the samples, as SQNR. They change nothing in the model.

    \b
    Examples:
      trt-int8 migrate model.onnx model.cache -o model.qdq.onnx
      trt-int8 migrate model.onnx model.cache -o model.qdq.onnx --log implicit-build.log
      trt-int8 migrate model.onnx model.cache -o model.qdq.onnx --high-precision fp16 --data samples.npz
    """
    from trt_int8.graph.model import Model
    from trt_int8.graph.save import save_like
    from trt_int8.pipeline import Profile, QuantizationOptions, migrate_prepared, prepare
    from trt_int8.ranges import CalibrationCache
    from trt_int8.report import PrecisionReport
    from trt_int8.target import resolve_target

    options.check_outputs({"Q/DQ model": output})
    loaded = Model.of(model)
    resolved = resolve_target(target)
    profile = shapes.parse()
    prepared = prepare(
        loaded,
        batches=data.open(loaded, profile) if data.given else None,
        target=resolved,
        options=QuantizationOptions(
            placement=choice.rules(resolved),
            selection=choice.selection(),
            high_precision=high_precision,
            scale_dtype=scale_dtype,
        ),
        profile=Profile(shapes=profile, rename_dims=shapes.rename_dims),
    )
    say(resolved.text)
    made = migrate_prepared(
        prepared,
        CalibrationCache.read(cache),
        log=None if log is None else PrecisionReport.read(log),
        tell=options.tell,
    )
    result = made.migration
    save_like(result.model, output, source=model)
    for note in result.notes:
        say(f"note: {in_options(note)}", err=True)
    click.echo(result.to_text(), nl=False)
    say(output)

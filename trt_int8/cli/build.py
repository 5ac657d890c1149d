"""``trt-int8 build``: model in; engine, log and precision report out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trt_int8.choices import MODES
from trt_int8.cli import options, placement
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.implicit import implicit
from trt_int8.cli.parameters import option, result_option
from trt_int8.cli.terminal import say

if TYPE_CHECKING:
    from trt_int8.engine.implicit.build import ImplicitOptions


@click.command(cls=Command)
@options.model
@options.output("The engine to write.")
@options.cache
@result_option("--log", panel=Panel.MODEL, help="TensorRT's verbose log. [default: ENGINE.log]")
@result_option(
    "--qdq",
    panel=Panel.MODEL,
    help="Also write the Q/DQ model that is built. On the implicit route, it is the Q/DQ model that is "
    "equivalent to the engine.",
)
@options.target
@options.algorithm_of_route
@placement.placement
@placement.plan
@option(
    "--mode",
    panel=Panel.TARGET,
    type=click.Choice(MODES),
    default="auto",
    help="explicit: Q/DQ nodes decide which layers run in INT8. implicit: TensorRT (up to 10) calibrates and "
    "chooses the INT8 layers. auto: explicit for a model with Q/DQ nodes, else implicit if the installed "
    "TensorRT has calibrators.",
)
@options.bias_correction
@options.shapes
@options.data(required=False, random=True)
@implicit
def build(
    model: str,
    output: str,
    cache: str | None,
    log: str | None,
    qdq: str | None,
    target: str | None,
    algorithm: str | None,
    placement: str | None,
    plan: str | None,
    mode: str,
    bias_correction: bool | None,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
    implicit: ImplicitOptions,
) -> None:
    """Build an INT8 engine from MODEL and report which layers run in INT8.

    A model with Q/DQ nodes is built as it is. Any other model is calibrated with the samples (--data), or
    takes its dynamic ranges from a calibration cache (--cache), and gets Q/DQ pairs.

    \b
    Examples:
      trt-int8 build model.onnx --data samples.npz -o model.engine --target sm89
      trt-int8 build dynamic.onnx --data samples.npz -o e --shapes x:1x3x32x32,8x3x224x224,8x3x448x448
    """
    from pathlib import Path

    from trt_int8.cli.placement import read_plan
    from trt_int8.engine.log import default_log, failed_log
    from trt_int8.graph.model import Model
    from trt_int8.pipeline import Profile, QuantizationOptions
    from trt_int8.pipeline.build import build_engine
    from trt_int8.report.gate import deviations

    log = log or str(default_log(Path(output)))
    failed = str(failed_log(Path(log)))
    results = {"engine": output, "log": log, "log of a failed build": failed, "Q/DQ model": qdq}
    options.check_outputs(results)
    loaded = Model.of(model)
    if not loaded.has_qdq and not (implicit.ranges and not data.given):
        options.require_source(data, cache, algorithm=algorithm)
    shape_ranges = shapes.parse()
    opened = data.open(loaded, shape_ranges) if data.given else None
    precisions = read_plan(plan)
    result = build_engine(
        loaded,
        output,
        batches=None if opened is None else opened.divided_for(algorithm),
        ranges=options.read_ranges(cache),
        target=target,
        mode=mode,  # type: ignore[arg-type]  # click checked the choice
        options=QuantizationOptions(
            algorithm=algorithm, placement=placement, plan=precisions, bias_correction=bias_correction
        ),
        profile=Profile(
            shapes=shape_ranges,
            batch_size=opened.batch_size if opened else data.batch_size,
            rename_dims=shapes.rename_dims,
        ),
        implicit=implicit,
        log=log,
        qdq=qdq,
        tell=options.tell,
    )
    if result.quantized is not None:
        options.report_skipped(result.quantized)
    click.echo(result.report.to_text(), nl=False)
    if precisions is not None:
        for line in deviations(precisions.nodes, result.report.last):
            say(f"plan: {line}")
    built = result.serialized_engine
    say(f"engine: {result.engine} ({len(built.data):,} bytes, {built.target}, {built.tensorrt})")
    say(f"log: {result.log}")
    if qdq is not None:
        say(f"Q/DQ model: {qdq}")

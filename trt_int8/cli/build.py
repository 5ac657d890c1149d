"""``trt-int8 build``: model in, engine, log and precision report out."""

from __future__ import annotations

import click

from trt_int8.choices import MODES, PLACEMENTS
from trt_int8.cli import options
from trt_int8.cli.command import command
from trt_int8.cli.help import Panel
from trt_int8.cli.implicit import ImplicitArguments, implicit
from trt_int8.cli.parameters import option


@command()
@options.model
@options.output("The engine to write.")
@options.cache
@option(
    "--log",
    panel=Panel.MODEL,
    metavar="FILE",
    type=click.Path(),
    help="TensorRT's verbose log (default: beside the engine).",
)
@option(
    "--qdq",
    panel=Panel.MODEL,
    metavar="FILE",
    type=click.Path(),
    help="Write the Q/DQ model that is built; on the implicit route the one that the engine amounts to.",
)
@options.target
@options.algorithm_of_route
@option(
    "--placement",
    panel=Panel.TARGET,
    type=click.Choice(PLACEMENTS),
    help="Rules for Q/DQ pairs on the explicit route [default: those of the TensorRT that builds].",
)
@option(
    "--plan",
    "plan_file",
    panel=Panel.QUANTIZATION,
    metavar="FILE",
    type=click.Path(),
    help="A precision plan (see sensitivity): nodes it calls float are kept out of INT8.",
)
@option(
    "--mode",
    panel=Panel.TARGET,
    type=click.Choice(MODES),
    default="auto",
    show_default=True,
    help="explicit: Q/DQ nodes say what runs in INT8. implicit: TensorRT (up to 10) calibrates and chooses. "
    "auto: explicit for a model with Q/DQ nodes, else implicit where the installed TensorRT can.",
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
    plan_file: str | None,
    mode: str,
    bias_correction: bool | None,
    shapes: options.ShapeOptions,
    data: options.DataOptions,
    implicit: ImplicitArguments,
) -> None:
    """Build an INT8 engine from MODEL and report which layers got INT8.

    A model with Q/DQ nodes is built as it is; any other is calibrated (--data) or takes ranges from a
    calibration cache (--cache), and Q/DQ pairs are inserted.

    \b
    Examples:
      trt-int8 build model.onnx --data samples.npz -o model.engine --target sm89
      trt-int8 build dynamic.onnx --data samples.npz -o e --shapes x:1x3x32x32,8x3x224x224,8x3x448x448
    """
    from pathlib import Path

    from trt_int8.engine.log import default_log
    from trt_int8.graph.model import Model
    from trt_int8.pipeline import Profile, QuantizationOptions
    from trt_int8.pipeline.build import build_engine
    from trt_int8.quantization import PrecisionPlan
    from trt_int8.ranges import CalibrationCache
    from trt_int8.report.gate import deviations

    log = log or str(default_log(Path(output)))
    results = {"engine": output, "log": log} | ({} if qdq is None else {"Q/DQ model": qdq})
    options.check_outputs(results, model=model, data=data.data, cache=cache, plan=plan_file)
    loaded = Model.of(model)
    if not loaded.has_qdq and not (implicit.ranges and not data.given):
        options.require_source(data, cache, algorithm=algorithm)
    shape_ranges = shapes.parse()
    opened = data.open(loaded, shape_ranges) if data.given else None
    plan = None if plan_file is None else PrecisionPlan.read(plan_file)
    result = build_engine(
        loaded,
        output,
        batches=None if opened is None else opened.divided_for(algorithm),
        ranges=None if cache is None else CalibrationCache.read(cache).ranges(),
        target=target,
        mode=mode,  # type: ignore[arg-type]  # click checked the choice
        options=QuantizationOptions(
            algorithm=algorithm, placement=placement, plan=plan, bias_correction=bias_correction
        ),
        profile=Profile(
            shapes=shape_ranges,
            batch_size=opened.batch_size if opened else data.batch_size,
            rename_dims=shapes.rename_dims,
        ),
        implicit=implicit.options(),
        log=log,
        qdq=qdq,
        tell=options.tell,
    )
    if result.quantized is not None:
        options.report_skipped(result.quantized)
    click.echo(result.report.to_text(), nl=False)
    if plan is not None:
        for line in deviations(plan.nodes, result.report.last):
            click.echo(f"plan: {line}")
    built = result.serialized_engine
    click.echo(f"engine: {result.engine} ({len(built.data):,} bytes, {built.target}, {built.tensorrt})")
    click.echo(f"log: {result.log}")
    if qdq is not None:
        click.echo(f"Q/DQ model: {qdq}")

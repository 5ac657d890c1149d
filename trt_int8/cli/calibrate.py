"""``trt-int8 calibrate``: model and data in, calibration cache out."""

from __future__ import annotations

import click

from trt_int8.cli import calibration_options, options
from trt_int8.cli.command import Command
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import result_option
from trt_int8.cli.terminal import say


@click.command(cls=Command)
@options.model
@options.output("The calibration cache to write.")
@result_option(
    "--histograms", panel=Panel.MODEL, help="Also save the histograms (.npz), which ranges analyze reads."
)
@options.algorithm
@options.shapes
@calibration_options.calibration
@options.data(required=True)
def calibrate(
    model: str,
    output: str,
    histograms: str | None,
    algorithm: str,
    shapes: options.ShapeOptions,
    calibration: calibration_options.CalibrationArguments,
    data: options.DataOptions,
) -> None:
    """Run MODEL on the samples and write the dynamic range of each tensor as a TensorRT calibration cache.

    \b
    Examples:
      trt-int8 calibrate model.onnx --data samples.npz -o model.cache
      trt-int8 calibrate model.onnx --data samples.npz -o model.cache --histograms model.npz
      trt-int8 calibrate model.onnx --data photos/ -o model.cache --checkpoint model.checkpoint
    """
    from trt_int8.calibration import calibrate as run
    from trt_int8.calibration.histograms import to_bytes
    from trt_int8.correction.recentre import recentrable
    from trt_int8.files import atomic
    from trt_int8.graph.model import Model

    results = {"cache": output, "histograms": histograms, "checkpoint": calibration.checkpoint}
    options.check_outputs(results)
    loaded = Model.of(model)
    opened = calibration.telling(data.open(loaded, shapes.parse())).divided_for(algorithm)
    result = run(
        loaded,
        opened.readable() if calibration.distributed else opened,
        algorithm=algorithm,
        max_memory=calibration.max_memory,
        checkpoint=calibration.checkpoint,
        scheduler=calibration.dask,
        workers=calibration.workers,
    )
    files = []
    if histograms is not None:
        extra = {"algorithm": algorithm, "recentrable": recentrable(loaded.proto)}
        files.append((histograms, to_bytes(result.histograms, extra=extra)))
    try:
        files.insert(0, (output, result.cache().text.encode()))
    finally:  # a name that no cache can hold: the histograms are of use without it
        atomic.write_together(*files)
    if zeros := [name for name, entry in result.ranges.items() if entry.amax == 0]:
        listed = ", ".join(zeros[:5]) + (", …" if len(zeros) > 5 else "")
        say(
            f"note: these tensors are always 0: {listed}; their consumers stay float; check the data",
            err=True,
        )
    say(f"{output}: {len(result.ranges)} tensors from {result.samples} samples ({algorithm})")

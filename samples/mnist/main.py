"""From handwritten digits to a verified INT8 engine, on a machine without a GPU.

Calibrates LeNet on 500 digits, inserts Q/DQ, builds an engine with TensorRT-RTX, reads from the
builder's log which layers run in INT8, and compares accuracy on 2,000 other digits.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

import trt_int8
from trt_int8.batches import ArraySamples, batched
from trt_int8.calibration.thresholds import names
from trt_int8.files.atomic import write_text
from trt_int8.ranges.compare import range_table

HERE = Path(__file__).parent
#: The tensors of TensorRT's own LeNet calibration table, in its order. The cache also holds pool2_flat,
#: pool2 reshaped, which has pool2's range.
TABLE = ("data", "conv1", "pool1", "conv2", "pool2", "ip1_pre", "ip1", "ip2", "prob")


def load_digits(part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Images as the network takes them, float32 [n, 1, 28, 28] in [0, 1), and their labels."""
    with np.load(HERE / "digits.npz") as digits:
        images, labels = digits[f"{part}_images"], digits[f"{part}_labels"]
    return (images[:, None] / np.float32(256)).astype(np.float32), labels


@click.command(help=__doc__)
@click.option(
    "--out", default=HERE / "out", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--target", default="rtx:sm89", show_default=True, help="What to build for.")
@click.option("--algorithm", default="entropy", show_default=True, type=click.Choice(names()))
def main(out: Path, target: str, algorithm: str) -> None:
    try:
        run(out, target, algorithm)
    except (trt_int8.TrtInt8Error, OSError) as error:
        raise click.ClickException(str(error)) from error


def run(out: Path, target: str, algorithm: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = HERE / "lenet.onnx"
    images, _ = load_digits("calibration")
    held_back, labels = load_digits("evaluation")
    # For the commands in the README.
    np.savez(out / "calibration.npz", data=images)
    np.savez(out / "evaluation.npz", data=held_back, labels=labels)

    click.echo(f"== Calibration: {len(images)} digits, {algorithm}")
    calibration = trt_int8.calibrate(
        model, batched(ArraySamples({"data": images}), batch_size=1), algorithm=algorithm
    )
    cache = calibration.cache()
    cache.write(out / "lenet.cache")
    click.echo(range_table(calibration.ranges, tensors=TABLE, source=True))

    click.echo("== Engine")
    result = trt_int8.build_engine(
        model,
        out / "lenet.engine",
        ranges=calibration.ranges,
        target=target,
        log=out / "build.log",
        qdq=out / "lenet.qdq.onnx",
    )
    write_text(out / "report.json", result.report.to_json() + "\n")
    click.echo(f"route: {result.route} ({result.reason})")
    built = result.serialized_engine
    click.echo(f"built by {built.tensorrt} for {built.target}, {len(built.data):,} bytes\n")
    click.echo("== Precision, from the builder's log")
    click.echo(result.report.to_text())

    click.echo(f"== Accuracy on {len(labels)} other digits")
    evaluation = trt_int8.evaluate(
        model,
        out / "lenet.qdq.onnx",
        batched(ArraySamples({"data": held_back}), batch_size=1),
        labels=labels,
    )
    assert evaluation.top1 is not None
    click.echo(f"FP32 {evaluation.top1.reference:.2%}, INT8 {evaluation.top1.quantized:.2%}")
    click.echo(f"prob: SQNR {evaluation.outputs['prob'].sqnr_db:.1f} dB")
    click.echo(
        "Verified: INT8 layers by the builder's log, accuracy by simulation in onnxruntime. "
        "TensorRT executed nothing.\n"
    )

    summary = {
        "route": result.route,
        "images": calibration.samples,
        "fp32_top1": evaluation.top1.reference,
        "int8_top1": evaluation.top1.quantized,
        "int8_layers": len(result.report.last.int8_layers),
        "compute_layers": len(result.report.last.compute_layers),
    }
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    click.echo("== Files")
    for name, what in FILES.items():
        click.echo(f"{out / name}  {what}")


FILES = {
    "lenet.engine": "the engine",
    "lenet.cache": "TensorRT calibration cache",
    "lenet.qdq.onnx": "the model with Q/DQ nodes",
    "build.log": "TensorRT's verbose log",
    "report.json": "the precision report",
    "summary.json": "the figures above",
    "calibration.npz": "calibration digits, as the command line takes them",
    "evaluation.npz": "held-back digits and labels",
}


if __name__ == "__main__":
    main()

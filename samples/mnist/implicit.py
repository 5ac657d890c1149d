"""The same digits by the implicit route, on a machine with a GPU and TensorRT 8.6 to 10.

TensorRT calibrates by itself: the digits go to the GPU as they are, uint8, are normalized there, and reach
TensorRT's entropy calibrator through pinned memory while the next ones are being read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

import trt_int8
from trt_int8.engine.implicit import ImplicitOptions
from trt_int8.engine.tensorrt import load_implicit
from trt_int8.errors import TrtInt8Error
from trt_int8.streamer.cuda import CudaDevice
from trt_int8.streamer.normalize import Normalize

HERE = Path(__file__).parent


def digits() -> Iterator[dict[str, npt.NDArray[np.uint8]]]:
    """One digit a batch, as the network wants it: uint8 [1, 28, 28, 1]."""
    with np.load(HERE / "digits.npz") as file:
        images = file["calibration_images"]
    for image in images:
        yield {"data": image[None, :, :, None]}


@click.command(help=__doc__)
@click.option(
    "--out", default=HERE / "out", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("trt_int8").setLevel(logging.INFO)
    try:
        load_implicit()
        result = trt_int8.build_engine(
            HERE / "lenet.onnx",
            out / "lenet.engine",
            batches=digits(),
            mode="implicit",
            target="tensorrt",
            implicit=ImplicitOptions(
                # A cache that was made from other digits or by another TensorRT is refused.
                cache=out / "lenet.cache",
                device=CudaDevice(normalize={"data": Normalize(scale=1 / 256)}),
            ),
            log=out / "build.log",
            tell=click.echo,
        )
    except TrtInt8Error as error:
        raise click.ClickException(str(error)) from error
    click.echo(result.report.to_text())
    (out / "report.json").write_text(result.report.to_json() + "\n", encoding="utf-8")
    summary = {
        "route": result.route,
        "images": 0 if result.summary is None else result.summary.batches,
        "int8_layers": len(result.report.last.int8_layers),
        "compute_layers": len(result.report.last.compute_layers),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    click.echo(f"built by {result.serialized_engine.tensorrt}; all files are in {out}")


if __name__ == "__main__":
    main()

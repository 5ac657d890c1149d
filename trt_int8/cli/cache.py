"""``trt-int8 cache``: look at calibration caches."""

from __future__ import annotations

import click


@click.group()
def cache() -> None:
    """Look at calibration caches."""


@cache.command()
@click.argument("file", type=click.Path())
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(file: str, form: str) -> None:
    """Print the scale and the range of each tensor in a TensorRT calibration cache.

    \b
    Example:
      trt-int8 cache show model.cache
    """
    import json

    from trt_int8.ranges import CalibrationCache
    from trt_int8.ranges.table import range_table

    read = CalibrationCache.read(file)
    if form == "json":
        tensors = {
            name: {"scale": float(entry.scale), "amax": entry.amax} for name, entry in read.ranges().items()
        }
        click.echo(json.dumps({"header": read.header, "tensors": tensors}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{read.header}, {len(read.scales)} tensors")
        click.echo(range_table(read.ranges()), nl=False)


@cache.command("from-qdq")
@click.argument("model", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The cache to write.")
def from_qdq(model: str, output: str) -> None:
    """Write the scales of the Q/DQ pairs of MODEL as a TensorRT calibration cache.

    A model made by migrate gives back the cache it was made from, byte for byte.

    \b
    Example:
      trt-int8 cache from-qdq model.qdq.onnx -o model.cache
    """
    from trt_int8.quantization.migration import cache_from_qdq

    result = cache_from_qdq(model)
    result.write(output)
    click.echo(f"{output}: {len(result.scales)} tensors")

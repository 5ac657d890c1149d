"""``trt-int8 cache``: print, compare, merge, edit and convert calibration caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trt_int8.choices import MERGES, RANGE_FORMS
from trt_int8.cli.command import Group
from trt_int8.cli.help import Panel
from trt_int8.cli.options import check_outputs, exit_unless_met, output_format, print_json
from trt_int8.cli.parameters import Bound, argument, globs_option, option, result_option
from trt_int8.cli.terminal import say

if TYPE_CHECKING:
    from trt_int8.ranges.files import RangeFile

_output = result_option("-o", "--output", required=True, help="The file to write.")
_to = option(
    "--to", "form", type=click.Choice(RANGE_FORMS), help="Format of the result. [default: that of the input]"
)
_header = option(
    "--header", metavar="LINE", help="First line of a TensorRT cache, such as TRT-101600-EntropyCalibration2."
)


@click.group(cls=Group)
def cache() -> None:
    """Print, compare, merge, edit and convert calibration caches.

    Each command reads TensorRT caches, JSON, YAML and onnxruntime's calibration tables. It recognizes the
    format by the content of the file.

    \b
    Example:
      trt-int8 cache show model.cache
    """


@cache.command()
@argument("file", type=click.Path())
@output_format()
def show(file: str, form: str) -> None:
    """Print the scale and the dynamic range (amax) of each tensor in a calibration cache.

    \b
    Example:
      trt-int8 cache show model.cache
    """
    import math

    from trt_int8.ranges.compare import range_table
    from trt_int8.ranges.files import RangeFile

    read = RangeFile.read(file)
    header = read.header or read.form
    if form == "json":
        tensors = {
            name: {
                key: value if math.isfinite(value) else None
                for key, value in (("scale", float(entry.scale)), ("amax", entry.amax))
            }
            for name, entry in read.ranges.items()
        }
        print_json({"header": header, "tensors": tensors})
    else:
        say(f"{header}, {len(read.ranges)} tensors")
        click.echo(range_table(read.ranges), nl=False)


@cache.command()
@argument("left", type=click.Path())
@argument("right", type=click.Path())
@option(
    "--fail-above",
    panel=Panel.REQUIREMENTS,
    type=Bound(min=1),
    metavar="RATIO",
    help="Exit with code 1 if a ratio is above RATIO, or if a tensor is in only one of the caches.",
)
@output_format()
def diff(left: str, right: str, fail_above: float | None, form: str) -> None:
    """Compare two caches: print for each tensor the ratio of the larger dynamic range to the smaller one.

    \b
    Example:
      trt-int8 cache diff old.cache new.cache --fail-above 1.5
    """
    from trt_int8.ranges.compare import diff as run
    from trt_int8.ranges.files import RangeFile

    result = run(RangeFile.read(left).ranges, RangeFile.read(right).ranges)
    if form == "json":
        print_json(result.to_dict())
    else:
        for change in result.changes:
            ratio = f"{change.ratio:8.4f}" if change.ratio < 1000 else f"{change.ratio:8.3g}"
            figures = f"{ratio}  {change.left:12.6g}  {change.right:12.6g}"
            say(f"{figures.replace('     inf', 'infinite')}  {change.name}")
        for path, names in ((left, result.only_left), (right, result.only_right)):
            for name in names:
                say(f"only in {path}: {name}")
    if not result.changes:
        raise click.ClickException(
            f"{left} and {right} have no tensor in common: they are of different models"
        )
    if fail_above is None:
        return
    failures = [
        f"differs by more than {fail_above:g}: {change.name} "
        f"({'0 or infinite in one' if change.ratio == float('inf') else f'{change.ratio:.4g}'})"
        for change in result.above(fail_above)
    ]
    failures += [f"in {left} and not in {right}: {name}" for name in result.only_left]
    failures += [f"in {right} and not in {left}: {name}" for name in result.only_right]
    exit_unless_met(failures)


@cache.command()
@argument("left", type=click.Path())
@argument("right", type=click.Path())
@option(
    "--how",
    type=click.Choice(MERGES),
    default="max",
    help="Range of a tensor that is in both caches: the larger one, the smaller one, LEFT's, or RIGHT's.",
)
@_to
@_header
@_output
def merge(left: str, right: str, how: str, form: str | None, header: str | None, output: str) -> None:
    """Merge two caches. The result has the tensors of both.

    \b
    Example:
      trt-int8 cache merge day.cache night.cache --how max -o model.cache
    """
    from trt_int8.ranges.compare import merge as run
    from trt_int8.ranges.files import RangeFile

    check_outputs({"merged cache": output})
    first = RangeFile.read(left)
    merged = run(first.ranges, RangeFile.read(right).ranges, how=how)
    _write(RangeFile(merged, first.form, first.header), output, form, header)


@cache.command("set")
@argument("file", type=click.Path())
@argument("assignments", nargs=-1, metavar="[GLOB=AMAX]...")
@globs_option("--unset", help="Remove the range of tensors whose name matches GLOB")
@_to
@_header
@_output
def set_(
    file: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    form: str | None,
    header: str | None,
    output: str,
) -> None:
    """Set the dynamic range of tensors whose name matches GLOB. The values are amax, not scales.

    \b
    Example:
      trt-int8 cache set model.cache 'relu*=6.0' --unset 'head/*' -o changed.cache
    """
    from trt_int8.ranges.compare import set_ranges
    from trt_int8.ranges.files import RangeFile

    if not assignments and not unset:
        raise click.UsageError("say what to change: GLOB=AMAX, or --unset GLOB")
    check_outputs({"changed cache": output})
    read = RangeFile.read(file)
    changed = set_ranges(read.ranges, dict(map(_assignment, assignments)), unset=unset)
    _write(RangeFile(changed, read.form, read.header), output, form, header)


def _assignment(text: str) -> tuple[str, float]:
    from trt_int8.ranges import TensorRange

    glob, separator, value = text.rpartition("=")
    try:
        amax = float(value)
    except ValueError:
        amax = -1.0
    if not separator or not glob or not 0 < amax < float("inf"):
        raise click.UsageError(f"{text!r} is not GLOB=AMAX with a positive number, such as 'relu*=6.0'")
    if not TensorRange(amax, source=text).usable:
        raise click.UsageError(
            f"{text!r}: {amax / 127:g} is out of range for a float32 scale; give an amax of 1e-40 to 1e40"
        )
    return glob, amax


@cache.command()
@argument("file", type=click.Path())
@option("--to", "form", type=click.Choice(RANGE_FORMS), required=True, help="Format of the result.")
@_header
@_output
def convert(file: str, form: str, header: str | None, output: str) -> None:
    """Convert a cache: for another version of TensorRT, to JSON or YAML, or for onnxruntime.

    \b
    Examples:
      trt-int8 cache convert model.cache --to ort-flatbuffers -o calibration.flatbuffers
      trt-int8 cache convert old.cache --to tensorrt --header TRT-101600-EntropyCalibration2 -o new.cache
    """
    from trt_int8.ranges.files import RangeFile

    check_outputs({"converted cache": output})
    _write(RangeFile.read(file), output, form, header)


@cache.command("from-qdq")
@argument("model", type=click.Path())
@_output
def from_qdq(model: str, output: str) -> None:
    """Write the scales of the Q/DQ pairs of MODEL as a TensorRT calibration cache.

    For a model that migrate made, the result is identical to the cache that it was made from, byte for byte.

    \b
    Example:
      trt-int8 cache from-qdq model.qdq.onnx -o model.cache
    """
    from trt_int8.quantization.migration import cache_from_qdq

    check_outputs({"cache": output})
    result = cache_from_qdq(model)
    result.write(output)
    say(f"{output}: {len(result.scales)} tensors")


def _write(file: RangeFile, output: str, form: str | None, header: str | None) -> None:
    form = form or file.form
    if header is not None and form != "tensorrt":
        raise click.UsageError(f"--header is for TensorRT caches, and the result is {form}")
    file.write(output, form=form, header=header)
    say(f"{output}: {len(file.ranges)} tensors ({form})")

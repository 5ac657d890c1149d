"""``trt-int8 ranges``: what ranges cost, from the histograms of a calibration."""

from __future__ import annotations

import click

from trt_int8.calibration.thresholds import names
from trt_int8.cli.command import group
from trt_int8.cli.parameters import argument, option


@group()
def ranges() -> None:
    """Look at the distributions behind the ranges (see calibrate --histograms).

    \b
    Example:
      trt-int8 ranges analyze model.npz
    """


@ranges.command()
@argument("histograms", type=click.Path())
@option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True)
@option("-o", "--output", type=click.Path(), metavar="FILE", help="Write here, not to the terminal.")
@option(
    "--algorithm",
    type=click.Choice(names()),
    help="The algorithm whose ranges are judged (default: the one the calibration used).",
)
def analyze(histograms: str, form: str, output: str | None, algorithm: str | None) -> None:
    """Say for each tensor what its range clips and what symmetric INT8 costs, and what helps.

    \b
    Examples:
      trt-int8 ranges analyze model.npz
      trt-int8 ranges analyze model.npz --format html -o ranges.html
    """
    from trt_int8.analysis import analyze as run
    from trt_int8.calibration.histograms import load_histograms_and_extra
    from trt_int8.calibration.thresholds import methods
    from trt_int8.cli.options import check_outputs
    from trt_int8.files import atomic

    judged = methods(held_out=False)
    if algorithm is not None and algorithm not in judged:
        raise click.UsageError(
            f"--algorithm {algorithm} needs held-out batches, which a file of histograms does not "
            f"tell; give one of {', '.join(judged)}"
        )
    if output is not None:
        check_outputs({"analysis": output}, histograms=histograms)
    loaded, extra = load_histograms_and_extra(histograms)
    used = str(extra.get("algorithm"))
    known = extra.get("recentrable")
    result = run(
        loaded,
        algorithm=algorithm or (used if used in judged else "entropy"),
        recentrable=known if isinstance(known, list) else None,
    )
    if form == "html":
        text = result.to_html()
    elif form == "json":
        text = result.to_json() + "\n"
    else:
        text = result.to_text()
    if output is None:
        click.echo(text, nl=False)
    else:
        atomic.write_text(output, text)


@ranges.command()
@argument("shards", nargs=-1, required=True, type=click.Path())
@option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The histograms to write.")
def merge(shards: tuple[str, ...], output: str) -> None:
    """Merge histograms of one model: what one calibration over all the data would have counted.

    \b
    Example:
      trt-int8 ranges merge a.npz b.npz -o model.npz
    """
    from trt_int8.calibration.histograms import load_histograms_and_extra, save_histograms
    from trt_int8.cli.options import check_outputs

    check_outputs(
        {"merged histograms": output}, **{f"shard {n}": shard for n, shard in enumerate(shards, start=1)}
    )
    merged, extra = load_histograms_and_extra(shards[0])
    for shard in shards[1:]:
        merged = merged.merge(load_histograms_and_extra(shard)[0])
    save_histograms(merged, output, extra=extra)
    click.echo(f"{output}: {len(merged.tensors)} tensors from {merged.samples} samples")

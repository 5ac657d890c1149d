"""``trt-int8 ranges``: analyze and merge the histograms of a calibration."""

from __future__ import annotations

import click

from trt_int8.calibration.thresholds import names
from trt_int8.cli import options
from trt_int8.cli.command import Group
from trt_int8.cli.parameters import argument, option, result_option
from trt_int8.cli.terminal import say


@click.group(cls=Group)
def ranges() -> None:
    """Analyze and merge the histograms that calibrate --histograms saved.

    \b
    Example:
      trt-int8 ranges analyze model.npz
    """


@ranges.command()
@argument("histograms", type=click.Path())
@options.output_format("html")
@result_option("-o", "--output", help="Write to FILE instead of the terminal.")
@option(
    "--algorithm",
    type=click.Choice(names()),
    help="Method whose ranges are analyzed. [default: the method of the calibration]",
)
def analyze(histograms: str, form: str, output: str | None, algorithm: str | None) -> None:
    """Print for each tensor the clipped share, the SQNR, the loss by symmetric INT8, and what helps.

    \b
    Examples:
      trt-int8 ranges analyze model.npz
      trt-int8 ranges analyze model.npz --format html -o ranges.html
    """
    from trt_int8.analysis import analyze as run
    from trt_int8.calibration.histograms import load_histograms_and_extra
    from trt_int8.calibration.thresholds import methods

    evaluable = methods(held_back=False)
    if algorithm is not None and algorithm not in evaluable:
        raise click.UsageError(
            f"--algorithm {algorithm} needs held-back batches, and histograms do not have them; give one of "
            f"{', '.join(evaluable)}"
        )
    options.check_outputs({"analysis": output})
    loaded, extra = load_histograms_and_extra(histograms)
    used = str(extra.get("algorithm"))
    known = extra.get("recentrable")
    result = run(
        loaded,
        algorithm=algorithm or (used if used in evaluable else "entropy"),
        recentrable=known if isinstance(known, list) else None,
    )
    views = {"text": result.to_text, "json": lambda: result.to_json() + "\n", "html": result.to_html}
    options.write_or_print(views[form](), output)


@ranges.command()
@argument("shards", nargs=-1, required=True, type=click.Path())
@result_option("-o", "--output", required=True, help="The histograms to write.")
def merge(shards: tuple[str, ...], output: str) -> None:
    """Merge histograms of one model. The result is that of one calibration with all the data.

    \b
    Example:
      trt-int8 ranges merge a.npz b.npz -o model.npz
    """
    from trt_int8.calibration.histograms import load_histograms_and_extra, save_histograms

    options.check_outputs({"merged histograms": output})
    merged, extra = load_histograms_and_extra(shards[0])
    for shard in shards[1:]:
        merged = merged.merge(load_histograms_and_extra(shard)[0])
    save_histograms(merged, output, extra=extra)
    say(f"{output}: {len(merged.tensors)} tensors from {merged.samples} samples")

"""``trt-int8 check-qdq``: find and fix problems of Q/DQ models that other tools made."""

from __future__ import annotations

import click

from trt_int8.cli import options
from trt_int8.cli.command import Command
from trt_int8.cli.parameters import argument, option, result_option
from trt_int8.cli.terminal import say


@click.command(cls=Command)
@argument("model", type=click.Path())
@option("--fix", is_flag=True, help="Fix the problems that need no new calibration (with -o).")
@result_option("-o", "--output", help="The fixed model to write.")
@options.output_format()
def check_qdq(model: str, fix: bool, output: str | None, form: str) -> None:
    """List the nodes of a Q/DQ MODEL that TensorRT refuses, runs in float or runs slowly, and how to fix it.

    The exit code is 1 if a node that TensorRT refuses is left.

    \b
    Examples:
      trt-int8 check-qdq qat.onnx
      trt-int8 check-qdq qat.onnx --fix -o fixed.onnx
    """
    from dataclasses import asdict

    from trt_int8.graph.save import save_like
    from trt_int8.quantization.check import check_qdq as run
    from trt_int8.quantization.check import fix_qdq

    if fix != (output is not None):
        raise click.UsageError("--fix and -o FILE go together, as MODEL itself is never changed")
    if fix and output is not None:
        options.check_outputs({"fixed model": output})
        checked = fix_qdq(model)
        fixed, left = list(checked.fixed), list(checked.left)
        save_like(checked.model, output, source=model)
    else:
        fixed, left = [], run(model)
    if form == "json":
        document = {"fixed": [asdict(f) for f in fixed], "findings": [asdict(f) for f in left]}
        options.print_json(document)
    else:
        for finding in fixed:
            say(f"fixed: {finding.node}: {finding.message} [{finding.rule}]")
        for finding in left:
            say(str(finding).replace("(fix_qdq does it)", "(--fix does it)"))
        say(f"{len(left)} findings" + (f", {len(fixed)} fixed, {output}" if fix else ""))
    if any(finding.severity == "refused" for finding in left):
        raise SystemExit(1)

"""``trt-int8 check-qdq``: what TensorRT will not like in a Q/DQ model from elsewhere."""

from __future__ import annotations

import click

from trt_int8.cli import options
from trt_int8.cli.command import command
from trt_int8.cli.parameters import argument, option


@command("check-qdq")
@argument("model", type=click.Path())
@option("--fix", is_flag=True, help="Mend what can be mended without calibrating again (needs -o).")
@option("-o", "--output", metavar="FILE", type=click.Path(), help="The mended model to write.")
@option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check_qdq(model: str, fix: bool, output: str | None, form: str) -> None:
    """List what TensorRT refuses, runs in float or runs slowly in a Q/DQ MODEL, and how to mend it.

    Exit code 1 if something it refuses is left.

    \b
    Examples:
      trt-int8 check-qdq qat.onnx
      trt-int8 check-qdq qat.onnx --fix -o mended.onnx
    """
    import json
    from dataclasses import asdict

    from trt_int8.graph.save import save_like
    from trt_int8.quantization.check import check_qdq as run
    from trt_int8.quantization.check import fix_qdq

    if fix != (output is not None):
        raise click.UsageError("--fix and -o FILE go together: the model given is never changed")
    if fix and output is not None:
        options.check_outputs({"mended model": output}, model=model)
        checked = fix_qdq(model)
        fixed, left = list(checked.fixed), list(checked.left)
        save_like(checked.model, output, source=model)
    else:
        fixed, left = [], run(model)
    if form == "json":
        document = {"fixed": [asdict(f) for f in fixed], "findings": [asdict(f) for f in left]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for finding in fixed:
            click.echo(f"mended: {finding.node}: {finding.message} [{finding.rule}]")
        for finding in left:
            click.echo(str(finding).replace("(fix_qdq does it)", "(--fix does it)"))
        click.echo(f"{len(left)} findings" + (f", {len(fixed)} mended, {output}" if fix else ""))
    if any(finding.severity == "refused" for finding in left):
        raise SystemExit(1)

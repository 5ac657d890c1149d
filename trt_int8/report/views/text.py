"""The report for a terminal: the answer per ONNX node first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trt_int8.report.kernels import MULTIPLYING_OPS
from trt_int8.report.records import Build, Node
from trt_int8.report.schema import summary

if TYPE_CHECKING:
    from trt_int8.report.report import PrecisionReport

STYLE = {"int8": "bold green", "int8_io": "green", "weight_dequantized": "bold red"}


def render(report: PrecisionReport, *, width: int, color: bool) -> str:
    """All builds of ``report`` as text, ``width`` columns wide, with terminal colours if ``color``."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for build in report.builds:
        print_build(console, build)
    return out.getvalue()


def print_build(console: Console, build: Build) -> None:
    """One build: headline, nodes, kernels by precision, warnings."""
    console.print(Text(headline(build), style="bold"))
    if build.nodes:
        console.print(_node_table(build.nodes))
    counts = summary(build)
    by_precision = ", ".join(f"{count} {name}" for name, count in sorted(counts["by_precision"].items()))
    console.print(
        Text(
            f"{counts['layers']} kernels: {counts['compute_layers']} compute ({by_precision or 'none'}), "
            f"{counts['reformat_layers']} reformat"
        )
    )
    for warning in build.warnings.other:
        console.print(Text(f"line {warning.line}: {warning.text}", style="yellow"))


def headline(build: Build) -> str:
    """One sentence with the answer."""
    nodes = weighted_nodes(build)
    engine = f"TensorRT {build.tensorrt}: " if build.tensorrt else ""
    if build.status != "complete":
        return f"{engine}the build is incomplete (lines {build.first_line} to {build.last_line})"
    if not nodes:
        return f"{engine}{len(build.int8_layers)} of {len(build.compute_layers)} compute kernels run in INT8"
    int8 = sum(node.precision == "int8" for node in nodes)
    rest = ", ".join(f"{node.node} {node.precision}" for node in nodes if node.precision != "int8")
    return f"{engine}{int8} of {len(nodes)} nodes that multiply run in INT8" + (
        f"; not: {rest}" if rest else ""
    )


def weighted_nodes(build: Build) -> tuple[Node, ...]:
    """The nodes that multiply (Conv, Gemm, …)."""
    return tuple(node for node in build.nodes if node.op in MULTIPLYING_OPS)


def _node_table(nodes: tuple[Node, ...]) -> Table:
    table = Table("node", "op", "precision", "kernels", "why not INT8", box=None, pad_edge=False)
    for node in nodes:
        why = "" if node.reason is None else f"{node.reason.code}: {node.reason.text}"
        style = STYLE.get(node.precision, "")
        table.add_row(
            Text(node.node),
            Text(node.op or ""),
            Text(node.precision, style=style),
            Text(", ".join(node.layers)),
            Text(why),
        )
    return table

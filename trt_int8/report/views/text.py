"""The report for a terminal: the answer per ONNX node first."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trt_int8.report.kernels import DATA_OPS, MULTIPLYING_OPS
from trt_int8.report.records import Build, Node
from trt_int8.report.views.words import headline, printable, remarks, why

_STYLE = {"int8": "bold green", "int8_io": "green", "weight_dequantized": "bold red"}
#: Beyond this many nodes, those in INT8 are only counted: the others are what a reader looks for.
_MOST_NODES = 60
_MOST_WARNINGS = 10
_LONGEST, _LONGEST_KERNEL = 400, 90


def render(builds: Sequence[Build], *, width: int, color: bool) -> str:
    """All builds as text, ``width`` columns wide, with terminal colours if ``color``."""
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
    for number, build in enumerate(builds, 1):
        if len(builds) > 1:
            console.print(Text(f"build {number} of {len(builds)}", style="dim"))
        _print(console, build)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print(console: Console, build: Build) -> None:
    console.print(Text(headline(build), style="bold"))
    if build.nodes:
        shown = _shown(build.nodes)
        if shown:
            console.print(_table(shown))
        hidden = Counter(node.precision for node in build.nodes) - Counter(node.precision for node in shown)
        if hidden:
            rest = ", ".join(f"{count} {precision}" for precision, count in sorted(hidden.items()))
            console.print(Text(f"… and {rest} (all of them with --format json, csv or html)", style="dim"))
    elif build.status != "complete":
        console.print(_layer_table(build))
    for remark in remarks(build):
        console.print(Text(remark))
    for warning in build.warnings.other[:_MOST_WARNINGS]:
        console.print(Text(_cell(f"line {warning.line}: {warning.text}"), style="yellow"))
    if len(build.warnings.other) > _MOST_WARNINGS:
        console.print(
            Text(f"… and {len(build.warnings.other) - _MOST_WARNINGS} more warnings", style="yellow")
        )


def _shown(nodes: Sequence[Node]) -> list[Node]:
    if len(nodes) <= _MOST_NODES:
        return list(nodes)
    wanted = [node for node in nodes if node.precision not in ("int8", "int8_io") and node.op not in DATA_OPS]
    wanted.sort(key=lambda node: node.op not in MULTIPLYING_OPS)
    return wanted[:_MOST_NODES]


def _table(nodes: Sequence[Node]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "op", "precision", "kernels", "why not INT8"):
        table.add_column(heading, overflow="fold")
    for node in nodes:
        table.add_row(
            Text(_cell(node.node)),
            Text(_cell(node.op or "")),
            Text(node.precision, style=_STYLE.get(node.precision, "")),
            Text(_cell(", ".join(node.layers), _LONGEST_KERNEL)),
            Text(_cell(why(node))),
        )
    return table


def _layer_table(build: Build) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "runner", "why not INT8"):
        table.add_column(heading, overflow="fold")
    for layer in build.layers[:_MOST_NODES]:
        reason = "" if layer.reason is None else f"{layer.reason.code}: {layer.reason.text}"
        table.add_row(Text(_cell(layer.name)), Text(_cell(layer.type)), Text(_cell(reason)))
    return table


def _cell(content: str, longest: int = _LONGEST) -> str:
    """What fits a terminal: names of some fused layers go on for pages."""
    return printable(content if len(content) <= longest else content[: longest - 1] + "…")

"""The report as text. The answer for each ONNX node comes first."""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from trt_int8.graph.operators import DATA, MULTIPLYING_INSIDE
from trt_int8.printable import printable
from trt_int8.report.records import Build, Node
from trt_int8.report.views.words import complaints, headline, remarks, why

_STYLE = {"int8": "bold green", "int8_io": "green", "weight_dequantized": "bold red"}
_HEADINGS = ("node", "op", "precision", "kernels", "why not INT8")
#: A terminal shows all nodes up to this number. Beyond it, nodes in INT8 are only counted.
_MOST_NODES = 60
_MOST_WARNINGS = 10
#: A terminal cuts longer texts: names of some fused layers go on for pages.
_LONGEST, _LONGEST_SENTENCE = 400, 2000
#: Widest column. A longer cell moves the rest of its own row to the right.
_WIDEST = 48
_INDENT = " " * 4


def render(builds: Sequence[Build], *, width: int | None, color: bool) -> str:
    """Return all builds as text, with terminal colours if ``color``.

    With a ``width`` in columns, lines are wrapped and long lists shortened. Without one (files and pipes),
    each node has one line and nothing is cut, so that grep finds it.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        width=width or 80,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    page = _Page(console, width)
    for number, build in enumerate(builds, 1):
        if len(builds) > 1:
            page.sentence(f"build {number} of {len(builds)}", style="dim")
        _print(page, build)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


@dataclass(frozen=True)
class _Page:
    """Lines of a console, wrapped at ``width`` if there is one."""

    console: Console
    width: int | None

    def line(self, text: Text) -> None:
        if self.console.is_terminal:
            self.console.print(text, soft_wrap=True)
        else:
            self.console.file.write(text.plain + "\n")

    def sentence(self, text: str, *, style: str = "", first: str = "") -> None:
        """Write a text, wrapped at words; all lines but the first are indented."""
        text = first + printable(_cut(text, self.width is None, _LONGEST_SENTENCE))
        lines = [text]
        if self.width is not None:
            width = max(20, self.width)
            lines = textwrap.wrap(text, width, subsequent_indent=_INDENT, break_on_hyphens=False)
        for each in lines:
            self.line(Text(each, style=style))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write columns. The last one, a sentence, goes below its row if it does not fit in the line."""
        whole = self.width is None
        rows = [[*(printable(_cut(cell, whole)) for cell in row[:-1]), printable(row[-1])] for row in rows]
        widths = [
            min(_WIDEST, max(len(row[column]) for row in (headings, *rows)))
            for column in range(len(headings) - 1)
        ]
        for row in (headings, *rows):
            line = Text()
            for cell, wide in zip(row, widths, strict=False):
                line.append(cell, style=_STYLE.get(cell, ""))
                line.append(" " * (wide - len(cell) + 2 if len(cell) < wide else 2))
            last = row[-1]
            if self.width is None or not last or len(line) + len(last) <= self.width:
                self._folded(line + Text(last))
            else:
                self._folded(line)
                self.sentence(last, first=_INDENT)

    def _folded(self, line: Text) -> None:
        """Write a row of names. At the edge of the terminal it continues below."""
        line.rstrip()
        if self.width is None or len(line) <= self.width:
            self.line(line)
            return
        step = max(20, self.width - len(_INDENT))
        first, *rest = line.divide(range(self.width, len(line), step))
        self.line(first)
        for piece in rest:
            self.line(Text(_INDENT) + piece)


def _print(page: _Page, build: Build) -> None:
    page.sentence(headline(build), style="bold")
    whole = page.width is None
    if build.nodes:
        shown = list(build.nodes) if whole else _shown(build.nodes)
        if shown:
            page.table(_HEADINGS, _rows(shown, whole=whole))
        hidden = Counter(node.precision for node in build.nodes) - Counter(node.precision for node in shown)
        if hidden:
            rest = ", ".join(f"{count} {precision}" for precision, count in sorted(hidden.items()))
            page.sentence(f"… and {rest} (a pipe or a file gets all of them)", style="dim")
    elif build.status != "complete" and build.layers:
        layers = build.layers if whole else build.layers[:_MOST_NODES]
        rows = [(layer.name, layer.type, why(layer)) for layer in layers]
        page.table(("layer", "runner", "why not INT8"), rows)
        if len(layers) < len(build.layers):
            page.sentence(f"… and {len(build.layers) - len(layers)} more layers", style="dim")
    for remark in remarks(build):
        page.sentence(remark)
    said = complaints(build)
    for each in said[:_MOST_WARNINGS]:
        page.sentence(_cut(each, whole), style="yellow")
    more = len(said) - _MOST_WARNINGS
    if more > 0:
        page.sentence(f"… and {more} more warnings (the JSON view has all of them)", style="yellow")


def _shown(nodes: Sequence[Node]) -> list[Node]:
    if len(nodes) <= _MOST_NODES:
        return list(nodes)
    wanted = [node for node in nodes if node.precision not in ("int8", "int8_io") and node.op not in DATA]
    wanted.sort(key=lambda node: node.op not in MULTIPLYING_INSIDE)
    return wanted[:_MOST_NODES]


def _rows(nodes: Sequence[Node], *, whole: bool) -> list[tuple[str, ...]]:
    """Return a row for each node. On a terminal, only one node of a kernel gives the kernel's reason."""
    # The node that multiplies comes first.
    told: dict[tuple[tuple[str, ...], str], Node] = {}
    for node in sorted(nodes, key=lambda node: node.op not in MULTIPLYING_INSIDE):
        told.setdefault((node.layers, why(node)), node)
    rows: list[tuple[str, ...]] = []
    for node in nodes:
        reason = why(node)
        first = told[node.layers, reason]
        if node.reason is not None and first is not node and not whole:
            reason = f"{node.reason.code}: as for {first.node}"
        rows.append((node.node, node.op or "", node.precision, ", ".join(node.layers), reason))
    return rows


def _cut(text: str, whole: bool, longest: int = _LONGEST) -> str:
    return text if whole or len(text) <= longest else text[: longest - 1] + "…"

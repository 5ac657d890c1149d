"""Tables for an issue or a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from trt_int8.printable import printable
from trt_int8.report.records import Build
from trt_int8.report.views.words import complaints, headline, remarks, why

_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~])")


def render(builds: Sequence[Build]) -> str:
    """Return all builds in GitHub's Markdown. Names cannot break the tables or bring in HTML."""
    return "\n".join(line for build in builds for line in _build(build)) + "\n"


def escape(text: str) -> str:
    """Return ``text`` as literal Markdown in a table cell."""
    return html.escape(_SPECIAL.sub(r"\\\1", printable(text)), quote=False)


def _build(build: Build) -> list[str]:
    lines = [f"**{escape(headline(build))}**", ""]
    if build.nodes:
        lines += ["| node | op | precision | kernels | why not INT8 |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {escape(node.node)} | {escape(node.op or '')} | {escape(node.precision)} | "
            f"{escape(', '.join(node.layers))} | {escape(why(node))} |"
            for node in build.nodes
        ]
    else:
        lines += ["| layer | type | precision | why not INT8 |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {escape(layer.name)} | {escape(layer.type)} | {layer.precision} | {escape(why(layer))} |"
            for layer in build.layers
        ]
    lines += ["", *(f"- {escape(remark)}" for remark in remarks(build))]
    lines += [f"- {escape(said)}" for said in complaints(build)[:20]]
    return [*lines, ""]

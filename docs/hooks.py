"""MkDocs hooks: the command-line reference from ``--help``, the threshold methods, links out of docs/."""

from __future__ import annotations

import re
from typing import Any

import click

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./(?:\.\./)*(?!howto|reference|[\w-]+\.md)[^)]*\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the reference; show links to files of the repository outside docs/ as plain text."""
    if page.file.src_uri == "reference/cli.md":
        return markdown + command_reference()
    if page.file.src_uri == "calibration.md":
        markdown = markdown.replace("<!-- threshold methods -->", threshold_methods())
    return _OUTSIDE.sub(r"\1", markdown)


def threshold_methods() -> str:
    """A table of the methods that choose ranges."""
    from trt_int8.calibration.thresholds import method, names

    rows = [f"| `{m.name}` | {m.summary} | {m.source} |" for m in map(method, names())]
    return "\n".join(["| `--algorithm` | chooses | source |", "| --- | --- | --- |", *rows])


def command_reference() -> str:
    """``--help`` of every command."""
    from trt_int8.cli import main

    parts = [_section("trt-int8", main)]
    for name, command in main.commands.items():
        parts.append(_section(f"trt-int8 {name}", command))
        if isinstance(command, click.Group):
            parts += [_section(f"trt-int8 {name} {inner}", c) for inner, c in command.commands.items()]
    return "\n".join(parts)


def _section(words: str, command: click.Command) -> str:
    with click.Context(command, info_name=words, max_content_width=100, color=False) as context:
        return f"\n## {words}\n\n```text\n{command.get_help(context)}\n```\n"

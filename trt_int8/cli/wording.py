"""Translate messages of the library: Python arguments (``nodes=``) become options (``--nodes``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import click

from trt_int8.cli.config import key

#: Key of ``Context.meta``: the parameters of the running command.
PARAMETERS = "trt_int8.parameters"
#: Options whose library argument has another name.
_RENAMED = {"data": "batches", "recentre": "recentred", "cache": "ranges"}


def in_options(text: str, parameters: Iterable[click.Parameter] | None = None) -> str:
    """Return a message of the library with options in place of arguments, if the command has them.

    ``nodes='a*'`` becomes ``--nodes 'a*'``, ``preset='yolo'`` ``--preset yolo``, ``skip_bad=True``
    ``--skip-bad`` and a bare ``size=`` ``--size``.

    ``parameters`` are those of the command; by default, of the running command.

    Examples:
        >>> in_options("color='grey' does not fit; leave color= out", [click.Option(["--color"])])
        '--color grey does not fit; leave --color out'
    """
    if parameters is None:
        parameters = click.get_current_context().meta.get(PARAMETERS, ())
    named = [(key(each).replace("-", "_"), each) for each in parameters if isinstance(each, click.Option)]
    options = dict(named) | {_RENAMED[name]: each for name, each in named if name in _RENAMED}
    if not options:
        return text
    names = "|".join(sorted(options, key=len, reverse=True))

    def option(found: re.Match[str]) -> str:
        name, value, word = found["name"], found["value"], found["word"]
        if value == "False" and options[name].secondary_opts:
            return options[name].secondary_opts[0]
        spelled = f"--{key(options[name])}"
        if value in ("True", "False", None):
            return spelled
        return f"{spelled} {word or value}"

    value = r"(?P<value>'(?P<word>[\w.-]+)'|[^\s,;:.)][^\s,;:)]*)?"
    return re.sub(rf"(?<![\w.\[])(?P<name>{names})={value}", option, text)


def search_command(placement: str, budget: Mapping[str, float]) -> str:
    """Return a line with the command that searches a plan for ``placement``, a `Placement.text`.

    It is empty for a placement without some of its rules, as ``sensitivity`` searches with all of them.

    Examples:
        >>> search_command("rtx", {"min_sqnr": 30})
        '\\nSearch again: trt-int8 sensitivity MODEL --data DATA --placement rtx --min-sqnr 30 -o PLAN'
    """
    if " " in placement:
        return ""
    labels = " --labels LABELS" if budget.get("max_drop") is not None else ""
    limits = [f" --{name.replace('_', '-')} {limit:g}" for name, limit in budget.items() if limit is not None]
    command = (
        f"trt-int8 sensitivity MODEL --data DATA --placement {placement}{labels}{''.join(limits)} -o PLAN"
    )
    return f"\nSearch again: {command}"

"""Translate messages of the library: Python arguments (``nodes=``) become options (``--nodes``)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

import click

from trt_int8.cli.config import key
from trt_int8.printable import shell_word

#: Key of ``Context.meta``: the parameters of the running command.
PARAMETERS = "trt_int8.parameters"
#: Options whose library argument has another name.
_RENAMED = {"data": "batches", "recentre": "recentred", "cache": "ranges"}
#: A value after ``name=``: a Python string, or a word.
_VALUE = r"""(?P<value>(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|[^\s,;:.)][^\s,;:)]*)?"""
#: Limits of a precision plan that ``sensitivity`` takes.
_LIMITS = ("min_sqnr", "max_drop")


def in_options(text: str, parameters: Iterable[click.Parameter] | None = None) -> str:
    """Return a message of the library with options in place of arguments, if the command has them.

    ``nodes='a*'`` becomes ``--nodes 'a*'``, ``preset='yolo'`` ``--preset yolo``, ``skip_bad=True``
    ``--skip-bad`` and a bare ``size=`` ``--size``. Values are quoted for a shell.

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
        name, value, text = found["name"], found["value"], found["text"]
        if value == "False" and options[name].secondary_opts:
            return options[name].secondary_opts[0]
        spelled = f"--{key(options[name])}"
        if value in ("True", "False", None):
            return spelled
        return f"{spelled} {value if text is None else shell_word(ast.literal_eval(text))}"

    return re.sub(rf"(?<![\w.\[])(?P<name>{names})={_VALUE}", option, text)


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
    known = [(name, limit) for name, limit in budget.items() if name in _LIMITS and limit is not None]
    limits = [f" --{name.replace('_', '-')} {limit:g}" for name, limit in known]
    command = (
        f"trt-int8 sensitivity MODEL --data DATA --placement {placement}{labels}{''.join(limits)} -o PLAN"
    )
    return f"\nSearch again: {command}"

"""One self-contained page with summary, tables and graph. It works offline, from file://."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from trt_int8.dependencies import require
from trt_int8.printable import printable
from trt_int8.report.records import Build
from trt_int8.report.schema import builds_to_dict
from trt_int8.report.views.words import complaints, headline, remarks


def render(builds: Sequence[Build], *, source: str) -> str:
    """Return the page. All names travel as JSON data and reach the document as text only.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", purpose="the HTML report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = resources.files("trt_int8.report.views").joinpath("page.html.j2").read_text(encoding="utf-8")
    document = builds_to_dict(builds)
    for entry, build in zip(document["builds"], builds, strict=True):
        entry.update(headline=headline(build), remarks=remarks(build), complaints=complaints(build))
        for layer, record in zip(entry["layers"], build.layers, strict=True):
            layer["line"] = record.line
    page: str = environment.from_string(template).render(source=printable(source), data=_embedded(document))
    return page


def _embedded(document: object) -> str:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(_printable(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _printable(value: object) -> object:
    """Return a JSON value with all its texts made printable: the page shows them."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value

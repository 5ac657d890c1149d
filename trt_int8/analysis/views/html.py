"""One self-contained page: no script, no network, a drawing per tensor."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from trt_int8.analysis.views.drawing import draw
from trt_int8.dependencies import require

if TYPE_CHECKING:
    from trt_int8.analysis.analysis import RangeAnalysis


def render(analysis: RangeAnalysis) -> str:
    """The page. Names are escaped by the template.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", purpose="the HTML page")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files("trt_int8.analysis.views").joinpath("ranges.html.j2").read_text(encoding="utf-8")
    tensors = [
        {
            "tensor": tensor,
            "drawing": draw(tensor),
            "remedies": analysis.remedies(tensor),
        }
        for tensor in analysis.tensors
    ]
    page: str = environment.from_string(source).render(tensors=tensors, samples=analysis.samples)
    return page

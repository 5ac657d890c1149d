"""One row for each layer, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from trt_int8.printable import printable
from trt_int8.report.records import Build, Layer, Tensor

#: Heading → text of a layer. A column "build" with the number of the build comes first.
_COLUMNS: dict[str, Callable[[Layer], str]] = {
    "layer": lambda layer: layer.name,
    "type": lambda layer: layer.type,
    "kind": lambda layer: layer.kind,
    "precision": lambda layer: layer.precision,
    "inputs": lambda layer: _typed(layer.inputs),
    "outputs": lambda layer: _typed(layer.outputs),
    "tactic_name": lambda layer: layer.tactic_name or layer.tactic or "",
    "onnx_nodes": lambda layer: "; ".join(layer.onnx_nodes),
    "time_ms": lambda layer: "" if layer.time_ms is None else repr(layer.time_ms),
    "reason": lambda layer: "" if layer.reason is None else layer.reason.code,
    "text": lambda layer: "" if layer.reason is None else layer.reason.text,
    "line": lambda layer: "" if layer.line is None else str(layer.line),
}


def render(builds: Sequence[Build]) -> str:
    """Return all layers of all builds as CSV (RFC 4180) with one row of headings.

    A text that a spreadsheet would read as a formula gets an apostrophe in front.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["build", *_COLUMNS])
    for number, build in enumerate(builds, 1):
        for layer in build.layers:
            writer.writerow([number, *(_harmless(cell(layer)) for cell in _COLUMNS.values())])
    return out.getvalue()


def _typed(tensors: Sequence[Tensor]) -> str:
    return "; ".join(f"{tensor.name}:{tensor.dtype}" for tensor in tensors)


def _harmless(text: str) -> str:
    """Return ``text`` for a cell: printable, and no formula."""
    return "'" * text.startswith(("=", "+", "-", "@")) + printable(text)

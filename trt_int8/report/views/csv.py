"""One row for each layer, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from trt_int8.report.records import Build, Tensor

COLUMNS = (
    "build",
    "layer",
    "type",
    "kind",
    "precision",
    "inputs",
    "outputs",
    "tactic_name",
    "onnx_nodes",
    "time_ms",
    "reason",
    "text",
    "line",
)


def render(builds: Sequence[Build]) -> str:
    """All layers of all builds as CSV (RFC 4180), the first row being `COLUMNS`.

    A text that a spreadsheet would read as a formula is written with an apostrophe in front.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for number, build in enumerate(builds, 1):
        for layer in build.layers:
            row = [
                layer.name,
                layer.type,
                layer.kind,
                layer.precision,
                _typed(layer.inputs),
                _typed(layer.outputs),
                layer.tactic_name or layer.tactic or "",
                "; ".join(layer.onnx_nodes),
                "" if layer.time_ms is None else repr(layer.time_ms),
                "" if layer.reason is None else layer.reason.code,
                "" if layer.reason is None else layer.reason.text,
                "" if layer.line is None else str(layer.line),
            ]
            writer.writerow([number, *map(_harmless, row)])
    return out.getvalue()


def _typed(tensors: Sequence[Tensor]) -> str:
    return "; ".join(f"{tensor.name}:{tensor.dtype}" for tensor in tensors)


def _harmless(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") and text[:1] else text

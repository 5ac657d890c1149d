"""Ranges as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

from trt_int8.ranges.cache import scale_to_hex
from trt_int8.ranges.ranges import Ranges


def range_table(ranges: Ranges, *, tensors: Iterable[str] | None = None, source: bool = False) -> str:
    """Aligned columns: tensor, scale as in the cache, scale, amax, and the source if asked for.

    Args:
        ranges: what to show.
        tensors: which, in this order; None: all.
        source: add where each range came from.
    """
    rows = [["tensor", "scale (hex)", "scale", "amax"] + (["from"] if source else [])]
    for name in ranges if tensors is None else tensors:
        entry = ranges[name]
        row = [name, scale_to_hex(entry.scale), f"{entry.scale:.6g}", f"{entry.amax:.6g}"]
        rows.append(row + ([entry.source] if source else []))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )

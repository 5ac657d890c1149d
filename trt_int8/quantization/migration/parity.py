"""Compare the implicit build with the migrated model, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trt_int8.graph.index import GraphIndex, is_standard, label
from trt_int8.printable import aligned
from trt_int8.quantization.placement.draft import Skipped
from trt_int8.quantization.selection import OP_TYPES
from trt_int8.ranges.cache import scale_to_hex

#: The precision of nodes that are not in the log of the implicit build.
NOT_NAMED = "not named"


@dataclass(frozen=True)
class ParityRow:
    """One node that can run in INT8.

    Attributes:
        node: its name.
        op: its operator.
        implicit: precision in the implicit build; None without its log, ``not named`` if it is not in it.
        explicit: ``int8`` (Q/DQ on its inputs) or ``float``.
        scales: quantized activation → scale.
        why: the reason that it is float, or differs from the implicit build.
    """

    node: str
    op: str
    implicit: str | None
    explicit: str
    scales: Mapping[str, np.float32]
    why: str

    @property
    def same(self) -> bool:
        """Whether both builds agree, if there is a log; a node that is not in it may have run in INT8."""
        return self.implicit is None or (self.named and (self.explicit == "int8") == ran_int8(self.implicit))

    @property
    def named(self) -> bool:
        """Whether the log, if there is one, says in which precision the node ran."""
        return self.implicit != NOT_NAMED


def ran_int8(precision: str) -> bool:
    """Return whether a layer computed on INT8 values."""
    return precision in ("int8", "int8_io")


def parity(
    index: GraphIndex,
    quantized: Sequence[str],
    scales: Mapping[str, np.float32],
    skipped: Iterable[Skipped],
    implicit: Mapping[str, str] | None,
    placement: str,
) -> tuple[ParityRow, ...]:
    """Return a row for each node of an operator that some rule quantizes, in graph order."""
    reasons = {entry.node: entry.reason for entry in skipped}
    rows = []
    for node in index.graph.node:
        if node.op_type not in OP_TYPES or not is_standard(node):
            continue
        name = label(node)
        was = None if implicit is None else implicit.get(name, NOT_NAMED)
        if name in quantized:
            used = {t: scales[t] for t in node.input if t in scales}
            rows.append(ParityRow(name, node.op_type, was, "int8", used, ""))
            continue
        if was is not None and not ran_int8(was):
            why = "it is not in the log" if was == NOT_NAMED else f"{was} in the implicit build"
        else:
            why = reasons.get(name, f"no rule of placement {placement!r} quantizes it here")
        rows.append(ParityRow(name, node.op_type, was, "float", {}, why))
    return tuple(rows)


def parity_table(rows: Sequence[ParityRow]) -> str:
    """Return aligned columns; scales are hexadecimal, as in the cache."""
    cells = [["node", "op", "implicit", "explicit", "scales", "why"]]
    for row in rows:
        scales = ", ".join(f"{tensor} {scale_to_hex(scale)}" for tensor, scale in row.scales.items())
        mark = "" if row.same else " (differs)"
        cells.append([row.node, row.op, row.implicit or "?", row.explicit + mark, scales or "-", row.why])
    return aligned(cells)

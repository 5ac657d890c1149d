"""Rank nodes by what INT8 costs in each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trt_int8 import progress
from trt_int8.analysis.sensitivity.judge import Score
from trt_int8.analysis.sensitivity.measure import Measurements


@dataclass(frozen=True)
class NodeSensitivity:
    """What one node costs.

    Attributes:
        node, op_type: its name and operator.
        alone: the score with nothing but this node in INT8.
        without: the score with everything but this node in INT8.
        gain_db: how much SQNR leaving it in float gains over everything in INT8.
    """

    node: str
    op_type: str
    alone: Score
    without: Score
    gain_db: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON; infinite and undefined values become null."""

        def score(value: Score) -> dict[str, float | None]:
            return {"sqnr_db": _finite(value.sqnr_db), "drop": _finite(value.drop)}

        return {
            "node": self.node,
            "op_type": self.op_type,
            "alone": score(self.alone),
            "without": score(self.without),
            "gain_db": _finite(self.gain_db),
        }


def evaluations_of_ranking(nodes: int) -> int:
    """How many models `rank` runs: all in INT8, each node alone, all but each."""
    return 1 + 2 * nodes


def rank(measurements: Measurements) -> tuple[NodeSensitivity, ...]:
    """Measure every node; the most sensitive first: by the figure's drop alone, then by SQNR alone."""
    names = list(measurements.nodes)
    with progress.phase(
        "measuring sensitivity",
        total=evaluations_of_ranking(len(names)),
        unit="models",
        kept=measurements.kept,
    ) as phase:
        whole = measurements.score([], phase=phase)
        found = []
        for name in names:
            alone = measurements.score([other for other in names if other != name], phase=phase)
            without = measurements.score([name], phase=phase)
            gain = without.sqnr_db - whole.sqnr_db
            found.append(NodeSensitivity(name, measurements.nodes[name], alone, without, gain))
    return tuple(sorted(found, key=_order))


def _order(entry: NodeSensitivity) -> tuple[float, float]:
    drop = entry.alone.drop
    return (0.0 if math.isnan(drop) else -drop, entry.alone.sqnr_db)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

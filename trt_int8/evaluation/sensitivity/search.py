"""Rank nodes by what INT8 costs in each, and find the largest set of INT8 nodes within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trt_int8 import progress
from trt_int8.evaluation.sensitivity.evaluator import Score
from trt_int8.evaluation.sensitivity.measure import Measurements


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
        lost=measurements.lost,
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


@dataclass(frozen=True)
class Budget:
    """What may be lost; None: any amount.

    Attributes:
        max_drop: of the metric, or of top-1 as a share.
        min_sqnr_db: of the worst output.
    """

    max_drop: float | None = None
    min_sqnr_db: float | None = None

    def allows(self, score: Score) -> bool:
        """Whether ``score`` is within the budget; a drop that is NaN is not."""
        drop = self.max_drop is None or score.drop <= self.max_drop
        return drop and (self.min_sqnr_db is None or score.sqnr_db >= self.min_sqnr_db)


def samples_needed(max_drop: float) -> int:
    """Samples of which none may be lost before top-1 can be said to fall by ``max_drop`` at most, at 95 %.

    With no loss among n samples, up to 3 / n may be lost on other data (the rule of three).
    """
    return math.ceil(round(3 / max_drop, 6)) if max_drop > 0 else 0


@dataclass(frozen=True)
class Found:
    """The result of `search`: nodes to leave in float, in graph order, and the score with them."""

    floats: tuple[str, ...]
    score: Score


def search(measurements: Measurements, ranking: Sequence[NodeSensitivity], budget: Budget) -> Found:
    """Leave the most sensitive nodes in float until the budget is met, then take back what is not needed.

    At most twice as many models as nodes are run. The result is within the budget: with every node in
    float nothing is lost.

    Args:
        measurements: of the model.
        ranking: from `rank`, the most sensitive node first.
        budget: what may be lost.
    """
    floats: list[str] = []
    with progress.phase(
        "searching",
        total=2 * len(ranking),
        unit="models",
        lost=measurements.lost,
    ) as phase:
        score = measurements.score(floats)
        for entry in ranking:
            if budget.allows(score):
                break
            floats.append(entry.node)
            score = measurements.score(floats, phase=phase)
        # The last one made the difference; each before it may have been in vain. The least sensitive first.
        for name in list(reversed(floats))[1:]:
            fewer = [other for other in floats if other != name]
            tried = measurements.score(fewer, phase=phase)
            if budget.allows(tried):
                floats, score = fewer, tried
    return Found(tuple(name for name in measurements.nodes if name in floats), score)

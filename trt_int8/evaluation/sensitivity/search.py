"""Rank nodes by the accuracy they lose in INT8, and find the largest set of INT8 nodes within a budget."""

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
    """The accuracy that one node loses in INT8.

    Attributes:
        node, op_type: its name and operator.
        alone: the score with only this node in INT8.
        without: the score with all other nodes in INT8.
        gain_db: SQNR of ``without`` minus SQNR with all nodes in INT8.
    """

    node: str
    op_type: str
    alone: Score
    without: Score
    gain_db: float

    def to_dict(self) -> dict[str, Any]:
        """Return the content for JSON; infinite and undefined values become null."""

        def score(value: Score) -> dict[str, float | None]:
            return {"sqnr_db": _finite(value.sqnr_db), "drop": _finite(value.drop)}

        scores = {"alone": score(self.alone), "without": score(self.without)}
        return {"node": self.node, "op_type": self.op_type, **scores, "gain_db": _finite(self.gain_db)}


def evaluations_of_ranking(nodes: int) -> int:
    """Return the number of models that `rank` runs: all in INT8, each node alone, all but each."""
    return 1 + 2 * nodes


def rank(measurements: Measurements) -> tuple[NodeSensitivity, ...]:
    """Measure every node. The most sensitive comes first: by the drop of ``alone``, then by its SQNR."""
    names = list(measurements.nodes)
    total = evaluations_of_ranking(len(names))
    with progress.phase("measuring sensitivity", total=total, unit="models", lost=measurements.lost) as phase:
        whole = measurements.score([], phase=phase)
        found = []
        for name in names:
            alone = measurements.score([other for other in names if other != name], phase=phase)
            without = measurements.score([name], phase=phase)
            same = without.sqnr_db == whole.sqnr_db  # inf - inf would be NaN
            gain = 0.0 if same else without.sqnr_db - whole.sqnr_db
            found.append(NodeSensitivity(name, measurements.nodes[name], alone, without, gain))
    return tuple(sorted(found, key=_order))


def _order(entry: NodeSensitivity) -> tuple[float, float]:
    drop = entry.alone.drop
    return (0.0 if math.isnan(drop) else -drop, entry.alone.sqnr_db)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Budget:
    """Limits of a plan; None: no limit.

    Attributes:
        max_drop: largest drop of the metric, or of top-1 as a share.
        min_sqnr_db: lowest SQNR of the worst output.
    """

    max_drop: float | None = None
    min_sqnr_db: float | None = None

    def allows(self, score: Score) -> bool:
        """Return whether ``score`` is within the budget; a drop that is NaN is not."""
        drop = self.max_drop is None or score.drop <= self.max_drop
        return drop and (self.min_sqnr_db is None or score.sqnr_db >= self.min_sqnr_db)


def samples_needed(max_drop: float) -> int:
    """Return the number of samples needed to verify a top-1 drop of at most ``max_drop`` at 95 % confidence.

    With no error on n samples, the drop on other data can be up to 3 / n (the rule of three).
    """
    return math.ceil(round(3 / max_drop, 6)) if max_drop > 0 else 0


@dataclass(frozen=True)
class Found:
    """The result of `search`: the nodes that stay in float, in graph order, and the score with them."""

    floats: tuple[str, ...]
    score: Score


def search(measurements: Measurements, ranking: Sequence[NodeSensitivity], budget: Budget) -> Found:
    """Set the most sensitive nodes to float until the budget is met, then try each of them in INT8 again.

    At most twice as many models as nodes are run. The result is always within the budget, since a model with
    all nodes in float has no loss. ``ranking`` is the result of `rank`.
    """
    floats: list[str] = []
    total = 2 * len(ranking)
    with progress.phase("searching", total=total, unit="models", lost=measurements.lost) as phase:
        score = measurements.score(floats)
        for entry in ranking:
            if budget.allows(score):
                break
            floats.append(entry.node)
            score = measurements.score(floats, phase=phase)
        # The last node was needed; each node before it may not be. Try the least sensitive first.
        for name in list(reversed(floats))[1:]:
            fewer = [other for other in floats if other != name]
            tried = measurements.score(fewer, phase=phase)
            if budget.allows(tried):
                floats, score = fewer, tried
    return Found(tuple(name for name in measurements.nodes if name in floats), score)

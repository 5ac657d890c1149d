"""The largest set of INT8 nodes whose loss stays within a budget: greedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trt_int8 import progress
from trt_int8.analysis.sensitivity.judge import Score
from trt_int8.analysis.sensitivity.measure import Measurements
from trt_int8.analysis.sensitivity.ranking import NodeSensitivity


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

"""The best method for each tensor, judged on batches that the ranges were not fitted to."""

from __future__ import annotations

import math

from trt_int8.calibration.density import density, sqnr_db
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.thresholds import ALGORITHMS
from trt_int8.ranges.ranges import Ranges, TensorRange


def auto_ranges(fit: Histograms, held_out: Histograms) -> Ranges:
    """For each tensor the range, of those the methods find on ``fit``, with the best SQNR on ``held_out``.

    Tensors that share a range are judged by the one it comes from. Among equals entropy wins, then the
    order of `ALGORITHMS`.
    """
    candidates = {method: fit.ranges(algorithm=method) for method in ALGORITHMS}
    chosen: dict[str, TensorRange] = {}
    for name in fit.tensors:
        if name not in fit.ties:
            unseen = density(held_out.tensors[name])
            scores = {
                m: _score(sqnr_db(unseen, float(ranges[name].scale))) for m, ranges in candidates.items()
            }
            best = max(scores, key=lambda method: scores[method])
            chosen[name] = TensorRange(candidates[best][name].amax, source=f"{best} (auto)")
    for name, root in fit.ties.items():
        chosen[name] = TensorRange(chosen[root].amax, source=f"{chosen[root].source} of {root}")
    return Ranges({name: chosen[name] for name in fit.tensors})


def _score(sqnr: float) -> float:
    return -math.inf if math.isnan(sqnr) else sqnr

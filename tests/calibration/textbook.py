"""The published entropy calibration, word for word and slow: the oracle of the tests.

S. Migacz, "8-bit Inference with TensorRT", GTC 2017: 2,048 bins of |x| over [0, max] (a first pass
finds the maximum), 128 levels, thresholds at half bins. The first bin takes the count of the second, as
in NVIDIA's pytorch-quantization.
"""

from __future__ import annotations

import numpy as np


def divergence(counts: np.ndarray, kept: int, levels: int = 128) -> float:
    """KL(P‖Q) for ``kept`` bins, by loops."""
    reference = counts[:kept].astype(float)
    reference[-1] += counts[kept:].sum()
    candidate = np.zeros(kept)
    level_of = [b * levels // kept for b in range(kept)]
    for level in range(levels):
        members = [b for b in range(kept) if level_of[b] == level and counts[b] > 0]
        for b in members:
            candidate[b] = sum(counts[m] for m in members) / len(members)
    if not candidate.any():
        return np.inf
    reference /= reference.sum()
    candidate /= candidate.sum()
    total = 0.0
    for p, q in zip(reference, candidate, strict=True):
        if p > 0:
            if q == 0:
                return np.inf
            total += p * np.log(p / q)
    return total


def entropy_amax(values: np.ndarray, bins: int = 2048, step: int = 1) -> float:
    """The threshold for ``values``, trying every ``step``-th candidate."""
    magnitudes = np.abs(values[values != 0].astype(np.float64)).ravel()
    if not magnitudes.size:
        return 0.0
    counts, edges = np.histogram(magnitudes, bins, (0, magnitudes.max()))
    counts[0] = counts[1]
    candidates = range(128, bins + 1, step)
    best = min(candidates, key=lambda kept: divergence(counts, kept))
    return (best + 0.5) * (edges[1] - edges[0])

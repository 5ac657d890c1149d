"""The range with the least mean squared quantization error."""

from __future__ import annotations

import numpy as np

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import threshold_method

#: Ranges compared in one block: bounds the working memory to a few MB.
_BLOCK = 128


@threshold_method("mse", "the range with the least squared error", source="arXiv:1810.05723")
def mse_amax(histogram: Histogram) -> float:
    """The candidate (m + 0.5) · width, m from 1/16 of the used bins up, with the least squared error.

    The error of quantizing |x| to 127 steps of T/127 and clipping at T is summed over the histogram,
    each bin standing for its centre. Zeros have no error. Source: MSE calibration as in arXiv:2004.09602
    and in Banner et al., "Post training 4-bit quantization" (arXiv:1810.05723).
    """
    magnitudes = histogram.magnitudes()
    if not magnitudes.any():
        return 0.0
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    filled = np.flatnonzero(magnitudes)
    centres, weights = filled + 0.5, magnitudes[filled].astype(np.float64)
    candidates = np.arange(max(1, -(-used // 16)), used + 1) + 0.5
    errors = np.empty(len(candidates))
    for start in range(0, len(candidates), _BLOCK):
        limits = candidates[start : start + _BLOCK, None]
        step = limits / 127
        codes = np.minimum(np.rint(centres / step), 127)
        errors[start : start + _BLOCK] = np.square(codes * step - centres) @ weights
    # Among equals the larger range clips less.
    best = candidates[errors <= errors.min() * (1 + 1e-12)][-1]
    return float(best) * histogram.width

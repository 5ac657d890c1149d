"""The absolute value below which a given share of all values lies."""

from __future__ import annotations

import numpy as np

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import threshold_method


@threshold_method("percentile", r"the 99.99th percentile of \|x\|", source="arXiv:2004.09602, section 5.1")
def percentile_amax(histogram: Histogram, *, percentile: float = 99.99) -> float:
    """The ``percentile``-th percentile of |x|, zeros included, linear within its bin.

    Source: percentile calibration in H. Wu et al., "Integer Quantization for Deep Learning Inference"
    (arXiv:2004.09602), section 5.1. Never more than the largest value seen.

    Raises:
        ValueError: ``percentile`` is not in (0, 100].
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must be above 0 and at most 100")
    if histogram.amax == 0:
        return 0.0
    below = np.concatenate([[0], np.cumsum(histogram.magnitudes())]) + histogram.zeros
    wanted = histogram.total * (percentile / 100)
    if wanted <= histogram.zeros:
        # That many values are zero: the first bin that holds anything else is the least useful range.
        return min(histogram.width * int(np.argmax(below > histogram.zeros)), histogram.amax)
    edge = int(np.searchsorted(below, wanted))  # below[edge - 1] < wanted <= below[edge]
    inside = (wanted - below[edge - 1]) / (below[edge] - below[edge - 1])
    return min(histogram.width * (edge - 1 + float(inside)), histogram.amax)

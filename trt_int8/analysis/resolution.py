"""How far a predicted SQNR may be off, because a histogram does not say where in a bin its values lie."""

from __future__ import annotations

import math

import numpy as np

from trt_int8.calibration.density import HIGHEST, LOWEST, Density, Floats, density, known_bins, noise
from trt_int8.calibration.histogram import Histogram

#: What predicted SQNR promises, in dB.
CERTAIN_DB = 0.5


def uncertainty_db(histogram: Histogram, scale: float, zero_point: int = 0) -> float:
    """About how far `trt_int8.calibration.density.sqnr_db` may be from the truth, in dB.

    Within a bin, x² and the squared error of INT8 may be anything between their least and their largest
    value there. Bins are taken to be off independently of each other, each by half of that. Where values
    fill many bins this is little; where one outlier has stretched the bins until a few of them hold nearly
    all values, the prediction is a guess.
    """
    power, error = density(histogram).power, noise(density(histogram), scale, zero_point)
    bins = known_bins(histogram)
    of_power = float(np.linalg.norm(bins.weight * np.abs(bins.high**2 - bins.low**2) / 2))
    of_error = float(np.linalg.norm(bins.weight * _spread(bins, scale, zero_point) / 2))
    if not of_power and not of_error:
        return 0.0
    if not power > 0 or not error > 0:
        return math.inf
    return 10 * (math.log10(1 + of_power / power) + math.log10(1 + of_error / error))


def _spread(bins: Density, scale: float, zero_point: int) -> Floats:
    """Largest squared error within each bin less the least."""
    lowest, highest = LOWEST - zero_point, HIGHEST - zero_point
    codes = [np.clip(np.rint(edge / scale), lowest, highest) for edge in (bins.low, bins.high)]
    ends = [np.abs(edge - scale * code) for edge, code in zip((bins.low, bins.high), codes, strict=True)]
    largest = np.maximum(*ends)
    # Between two codes it is half a step; on a code it is 0.
    largest = np.where(codes[0] != codes[1], np.maximum(largest, scale / 2), largest)
    inner = scale * np.clip(np.ceil(bins.low / scale), lowest, highest)
    exact = (inner >= bins.low) & (inner <= bins.high)
    least = np.where(exact, 0.0, np.minimum(*ends))
    return np.asarray(largest**2 - least**2)

"""Analyze one tensor: its distribution, its range, and the SQNR of each algorithm.

Symmetric INT8 is compared with the best INT8 with a zero point (`best_affine`). A predicted SQNR has an
error, because a histogram does not tell where in a bin its values are (`uncertainty_db`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_int8.analysis.flags import flags
from trt_int8.calibration.density import HIGHEST, LOWEST, Density, Floats, density, known_bins, noise, sqnr_db
from trt_int8.calibration.histogram import Histogram
from trt_int8.ranges.ranges import TensorRange

#: Clipping candidates of each side, as shares of its extreme value.
_SHARES = np.concatenate([np.geomspace(1 / 32, 0.9, 24), np.linspace(0.91, 1.01, 11)])
_ROUNDS = 3


def best_affine(density: Density, *, minimum: float, maximum: float, symmetric: float) -> tuple[float, int]:
    """Return the scale and zero point of ONNX's QuantizeLinear with the least squared error.

    An int8 zero point is itself a code, so the range contains 0. Each side is clipped in turn as long as the
    error falls. The best ``symmetric`` scale is a candidate, so the result is never worse.
    """
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    ends = [low, high]
    best = (noise(density, symmetric), symmetric, 0)
    for _ in range(_ROUNDS):
        before = best
        for side, extreme in ((0, low), (1, high)):
            for share in _SHARES if extreme else ():
                tried = list(ends)
                tried[side] = extreme * share
                scale, zero_point = parameters(*tried)
                error = noise(density, scale, zero_point)
                if error < best[0]:
                    best = (error, scale, zero_point)
                    ends = tried
        if best == before:
            break
    return best[1], best[2]


def parameters(low: float, high: float) -> tuple[float, int]:
    """Return the scale and zero point that map codes -128 to 127 to [low, high], low ≤ 0 ≤ high."""
    scale = float(np.float32((high - low) / 255))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127)) if scale > 0 else 0
    return scale, zero_point


#: A predicted SQNR is marked as uncertain if its error may be larger, in dB.
CERTAIN_DB = 0.5


def uncertainty_db(histogram: Histogram, scale: float, zero_point: int = 0) -> float:
    """Estimate the error of `trt_int8.calibration.density.sqnr_db`, in dB.

    Within a bin, x² and the squared error of INT8 may have any value between their least and their largest
    value there. The error of each bin is assumed to be half of that, and independent of other bins. It is
    small if the values fill many bins. It is large if one outlier has widened the bins so much that a few of
    them contain nearly all values.
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
    """Return the largest minus the least squared error within each bin."""
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


@dataclass(frozen=True, eq=False)
class TensorAnalysis:
    """The analysis of a tensor.

    Attributes:
        name: the tensor.
        histogram: its values.
        minimum, maximum, mean: of its finite values.
        zeros: share of values equal to 0.
        amax, algorithm: the range, and how it was chosen.
        clipped: share of values beyond the range.
        used: bool [256], whether INT8 code i − 128 occurs.
        sqnr_db: SQNR of symmetric INT8 with each algorithm's range, and of ``affine``, the best INT8 with a
            zero point; NaN for a tensor of zeros.
        uncertain: keys of ``sqnr_db`` whose value may have an error above 0.5 dB (see `uncertainty_db`).
        flags: some of `trt_int8.analysis.flags.FLAGS`.
    """

    name: str
    histogram: Histogram
    minimum: float
    maximum: float
    mean: float
    zeros: float
    amax: float
    algorithm: str
    clipped: float
    used: np.ndarray[Any, np.dtype[np.bool_]]
    sqnr_db: Mapping[str, float]
    uncertain: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def codes_used(self) -> float:
        """Share of the 256 codes that occur."""
        return float(self.used.mean())

    @property
    def symmetry_cost_db(self) -> float:
        """SQNR of the best affine INT8 minus that of the best symmetric one, in dB; NaN for only zeros."""
        best = max(value for name, value in self.sqnr_db.items() if name != "affine")
        affine = self.sqnr_db["affine"]
        return 0.0 if best == affine else affine - best  # both inf: no cost

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; infinite and undefined SQNR become null."""
        return {
            "name": self.name,
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "zeros": self.zeros,
            "amax": _finite(self.amax),
            "algorithm": self.algorithm,
            "clipped": self.clipped,
            "codes_used": self.codes_used,
            "sqnr_db": {name: _finite(value) for name, value in self.sqnr_db.items()},
            "uncertain": list(self.uncertain),
            "symmetry_cost_db": _finite(self.symmetry_cost_db),
            "flags": list(self.flags),
        }


def analyze_tensor(
    name: str, histogram: Histogram, candidates: Mapping[str, TensorRange], *, algorithm: str
) -> TensorAnalysis:
    """Analyze one tensor whose range is that of ``algorithm`` among ``candidates`` (algorithm → range)."""
    fine = density(histogram)
    amax = candidates[algorithm].amax
    scales = {key: float(entry.scale) for key, entry in candidates.items()}
    sqnr = {key: sqnr_db(fine, scale) for key, scale in scales.items()}
    known = {key: value for key, value in sqnr.items() if not math.isnan(value)}
    sqnr["affine"] = math.nan
    uncertain = [key for key in known if uncertainty_db(histogram, scales[key]) > CERTAIN_DB]
    if known:
        best = scales[max(known, key=lambda key: known[key])]
        coarse = density(histogram, parts=1)
        scale, zero_point = best_affine(
            coarse, minimum=histogram.minimum, maximum=histogram.maximum, symmetric=best
        )
        # The search ran on coarse cells, so the symmetric scale may be slightly better.
        sqnr["affine"] = max(sqnr_db(fine, scale, zero_point), max(known.values()))
        if uncertainty_db(histogram, scale, zero_point) > CERTAIN_DB:
            uncertain.append("affine")
    total = fine.total
    clipped = 0.0
    if total and amax < histogram.amax:
        clipped = (total - fine.below(amax) + fine.below(-amax)) / total
    found = flags(fine, minimum=histogram.minimum, maximum=histogram.maximum, amax=amax, clipped=clipped)
    return TensorAnalysis(
        name,
        histogram,
        histogram.minimum,
        histogram.maximum,
        fine.mean,
        histogram.zeros / total if total else 0.0,
        amax,
        algorithm,
        clipped,
        used_codes(histogram, scales[algorithm]),
        sqnr,
        tuple(uncertain),
        tuple(found),
    )


def used_codes(histogram: Histogram, scale: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return bool [256], the codes that values of ``histogram`` map to, -128 first.

    A bin narrower than a quantization step uses the code of its middle, a wider one all codes it covers.
    """
    used = np.zeros(256, np.bool_)
    if not 0 < scale < math.inf:
        return used
    cells = density(histogram, parts=1)
    inset = np.minimum(scale, cells.high - cells.low) / 2
    first, last = (
        np.clip(np.rint(edge / scale), LOWEST, HIGHEST).astype(np.int64) - LOWEST
        for edge in (cells.low + inset, cells.high - inset)
    )
    changes = np.zeros(257, np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, np.maximum(first, last) + 1, -1)
    used[:] = changes.cumsum()[:256] > 0
    if histogram.zeros:
        used[-LOWEST] = True
    return used


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

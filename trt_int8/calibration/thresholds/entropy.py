"""The clipping that loses least information, measured by the Kullback-Leibler divergence.

Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017, slides 26 and 38: for every number of
kept bins m, the reference distribution P is the first m bins of the histogram of |x| with everything
beyond added to the last of them; the candidate Q is those m bins without the clipped part, quantized
to 128 levels and spread evenly over the non-empty bins of each level. The m with the least KL(P‖Q)
wins, and the threshold is (m + 0.5) · bin width.

Two details differ from the slides:

* Q is not scaled up to the mass of P: what is clipped counts as lost. Scaled up, Q equals P where nothing
  but one spike is kept, so that data which stays away from zero would be clipped at its smallest value.
  TensorRT does not do that either: with it, its own table for LeNet on MNIST (data 3c008912, prob
  3c010a14) comes out bit for bit, without it data does not.
* The first bin takes the count of the second, as in NVIDIA's pytorch-quantization
  (``calib/histogram.py``). Zeros are exact at any scale, yet their spike (70 to 90 % of the values behind
  a ReLU or a softmax), spread over a level of Q, would drown everything else.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import SEARCH
from trt_int8.calibration.thresholds import threshold_method

#: Positive INT8 codes, 0 included.
LEVELS = 128
#: Divergences closer than this are one: rounding must not choose. The larger range wins.
_TIE = 1e-10
#: How far above the least divergence the compiled search still computes one: rounding is far below.
_MARGIN = 1e-8
#: Seconds that numpy searches one histogram for.
_SEARCHING = 0.004
Floats = npt.NDArray[np.float64]
Search = Callable[..., Floats]


@threshold_method(
    "entropy",
    "the clipping with the least KL divergence",
    source='S. Migacz, "8-bit Inference with TensorRT", GTC 2017; the first bin as in NVIDIA\'s '
    "pytorch-quantization",
)
def entropy_amax(histogram: Histogram) -> float:
    """Return the threshold with the least divergence, at least 1/16 of the largest bin's.

    numba searches where that pays, numpy elsewhere, with the same result.
    """
    return searched(histogram, SEARCH.after(_SEARCHING))


def searched(histogram: Histogram, loop: Search | None) -> float:
    """`entropy_amax` by the compiled `trt_int8.calibration.kernels.divergences`; None: by numpy."""
    magnitudes = histogram.magnitudes()
    if not magnitudes.any():
        return 0.0
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    if used == 1:
        return 1.5 * histogram.width  # float64 values below the smallest float32: there is no choice
    magnitudes[0] = magnitudes[1]
    candidates = np.arange(max(1, -(-used // 16)), used + 1)
    divergence = divergences(magnitudes[:used], candidates, loop=loop)
    best = candidates[divergence <= divergence.min() + _TIE][-1]
    return float(best + 0.5) * histogram.width


def divergences(
    counts: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], *, loop: Search | None = None
) -> Floats:
    """KL(P‖Q) in nats for each number of kept bins in ``candidates``.

    With c the counts, N their sum, S and n the sum and the number of non-empty bins of a level, and o
    what is clipped into the last kept bin L:

        KL = 1/N · [ Σ c·ln c − Σ S·ln(S/n) + correction(L) ]

    where the correction replaces c_L by c_L + o in P. All sums over ranges of bins are differences of
    prefix sums, so every candidate costs 128 look-ups.

    Args:
        counts: int64 [bins].
        candidates: int64, each in 1 … bins.
        loop: the compiled search, which gives up candidates that cannot be the least; None: numpy.

    Returns:
        float64, one per candidate; inf where the last kept bin is empty and something is clipped, and
        where a candidate was given up.
    """
    total = int(counts.sum())
    values = counts.astype(np.float64)
    mass = np.concatenate([[0], np.cumsum(counts)])
    filled = np.concatenate([[0], np.cumsum(counts > 0)])
    plogp = np.concatenate([[0.0], np.cumsum(_xlogx(values))])
    if loop is not None:
        sums = (np.asarray(mass, np.int64), np.asarray(filled, np.int64), plogp)
        return loop(values, *sums, np.ascontiguousarray(candidates, np.int64), _MARGIN)

    # Bin b of the first m belongs to level b·128 // m, so level l starts at bin ceil(l·m / 128).
    starts = -(-np.arange(LEVELS + 1) * candidates[:, None] // LEVELS)
    level_mass = np.diff(mass[starts], axis=1).astype(np.float64)
    level_filled = np.diff(filled[starts], axis=1)
    level_entropy = np.where(
        level_mass > 0, level_mass * np.log(np.maximum(level_mass, 1) / np.maximum(level_filled, 1)), 0.0
    ).sum(axis=1)

    clipped = (total - mass[candidates]).astype(np.float64)
    last = values[candidates - 1]
    # N times Q of the last kept bin: the mean over the non-empty bins of its level.
    spread = level_mass[np.arange(len(candidates)), _last_level(starts)] / np.maximum(
        level_filled[np.arange(len(candidates)), _last_level(starts)], 1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.where(
            clipped > 0,
            _xlogx(last + clipped) - _xlogx(last) - clipped * np.log(spread),
            0.0,
        )
        divergence = (plogp[candidates] - level_entropy + correction) / total
    return np.where((clipped > 0) & (last == 0), np.inf, divergence)


def _xlogx(values: Floats) -> Floats:
    return np.where(values > 0, values * np.log(np.maximum(values, 1.0)), 0.0)


def _last_level(starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the last level that holds a bin, for each candidate."""
    widths = np.diff(starts, axis=1)
    return np.asarray(LEVELS - 1 - np.argmax(widths[:, ::-1] > 0, axis=1), np.int64)

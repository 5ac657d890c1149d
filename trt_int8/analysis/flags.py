"""Flag problems of a range, and name the command that helps."""

from __future__ import annotations

import math

from trt_int8.calibration.density import Density
from trt_int8.printable import shell_word

#: Share of the values other than zero that form the bulk of a tensor.
_BULK = 0.999
#: A tensor is one-sided if its smaller side is at most this share of its larger one.
_ONE_SIDED = 0.05
#: A tensor that crosses zero has an offset if |middle| / half width is above this.
_OFF_CENTRE = 0.5
#: A tensor has an offset if |mean| / standard deviation is above this, even if some values are near zero.
_AWAY = 2.0
#: Limit of the largest value over that of the bulk: a normal distribution has 1.5, an exponential one 2.
_OUTLIERS = 3.0
#: Limit of the share of clipped values.
_SATURATING = 0.01
#: Half of the smallest float16: a scale below it is 0 in FP16.
_TINY_SCALE = 2.0**-25
FLAGS = ("dead", "tiny", "offset", "one_sided", "outliers", "saturating")


def flags(density: Density, *, minimum: float, maximum: float, amax: float, clipped: float) -> list[str]:
    """Return the flags of a tensor whose range is ``amax``; ``clipped`` is the share of values beyond it."""
    largest = max(-minimum, maximum)
    if largest == 0:
        return ["dead"]
    found = ["tiny"] if largest / 127 < _TINY_SCALE else []
    low, high = bulk(density)
    side = _side(low, high, density)
    if side and minimum < maximum:  # a constant loses nothing
        found.append(side)
    if largest > _OUTLIERS * max(-low, high):
        found.append("outliers")
    if amax > 0 and clipped > _SATURATING:
        found.append("saturating")
    return found


def bulk(density: Density) -> tuple[float, float]:
    """Return the smallest and the largest non-zero value, without the outermost 0.05 % on each side."""
    cumulated = density.weight.cumsum()
    if not cumulated.size or cumulated[-1] == 0:
        return 0.0, 0.0
    tail = (1 - _BULK) / 2 * cumulated[-1]
    first = int((cumulated <= tail).sum())
    last = int((cumulated < cumulated[-1] - tail).sum())
    return float(density.low[first]), float(density.high[min(last, len(density.high) - 1)])


def _side(low: float, high: float, density: Density) -> str | None:
    middle, half = (low + high) / 2, (high - low) / 2
    largest = max(-low, high)
    spread = math.sqrt(max(density.power / density.total - density.mean**2, 0.0))
    near_zero = min(abs(low), abs(high)) <= _ONE_SIDED * largest or density.zeros > 0
    if abs(density.mean) > _AWAY * spread and not density.zeros:
        return "offset"
    if near_zero and min(-low, high) <= _ONE_SIDED * largest:
        return "one_sided"
    return "offset" if abs(middle) > _OFF_CENTRE * half else None


def advice(flag: str, tensor: str, *, recentrable: bool = True) -> str:
    """Return the command that helps a tensor with ``flag``; MODEL, DATA and CACHE stand for the user's files.

    Args:
        flag: one of `FLAGS`.
        tensor: its name.
        recentrable: whether `trt_int8.correction.recentre` can handle it.
    """
    name, calibrate = shell_word(tensor), "trt-int8 calibrate MODEL --data DATA"
    recentre = f"trt-int8 quantize MODEL --data DATA --recentre {name} -o QDQ_MODEL"
    if not recentrable:
        recentre = f"{calibrate} --algorithm auto -o CACHE  # its consumers do not allow recentring"
    return {
        "dead": f"{calibrate} -o CACHE  # with DATA for which this tensor is not 0",
        "tiny": f"trt-int8 cache set CACHE --unset {name} -o NEW_CACHE  # its consumers stay float",
        "offset": recentre,
        "one_sided": recentre,
        "outliers": f"{calibrate} --algorithm auto -o CACHE",
        "saturating": f"{calibrate} --algorithm minmax -o CACHE",
    }[flag]

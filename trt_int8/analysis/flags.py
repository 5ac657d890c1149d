"""What is wrong with a range, and the command that helps."""

from __future__ import annotations

import math
import shlex

from trt_int8.calibration.density import Density

#: The share of values, zeros left out, that is taken for the bulk of a tensor.
_BULK = 0.999
#: A tensor whose smaller side is within this share of its larger one is one-sided.
_ONE_SIDED = 0.05
#: |middle| / half width above which a tensor that crosses zero counts as off centre.
_OFF_CENTRE = 0.5
#: |mean| / standard deviation above which a tensor is off centre even if some values come near zero.
_AWAY = 2.0
#: Largest value over the bulk's: a normal distribution has 1.5, an exponential one 2.
_OUTLIERS = 3.0
#: Share of values beyond the range.
_SATURATING = 0.01
#: Half of the smallest float16: a scale below it is 0 in FP16.
_TINY_SCALE = 2.0**-25

FLAGS = ("dead", "tiny", "offset", "one_sided", "outliers", "saturating")


def flags(density: Density, *, minimum: float, maximum: float, amax: float, clipped: float) -> list[str]:
    """The flags of a tensor.

    Args:
        density: of the tensor.
        minimum, maximum: its extreme values.
        amax: its chosen range.
        clipped: share of values beyond it.
    """
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
    """Smallest and largest of the values that are not zero, the outermost 0.05 % on each side left out."""
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


def remedy(flag: str, tensor: str, *, recentrable: bool = True) -> str:
    """The command that helps a tensor with ``flag``; MODEL, DATA and CACHE stand for the user's files.

    Args:
        flag: of `FLAGS`.
        tensor: its name.
        recentrable: whether `trt_int8.correction.recentre` takes it.
    """
    name = shlex.quote(tensor)
    if flag in ("offset", "one_sided") and not recentrable:
        method = "trt-int8 calibrate MODEL --data DATA --algorithm auto -o CACHE"
        return f"{method}  # what reads it rules recentring out"
    return {
        "dead": "trt-int8 calibrate MODEL --data DATA -o CACHE  # DATA that makes this tensor other than 0",
        "tiny": f"trt-int8 cache set CACHE --unset {name} -o NEW_CACHE  # its readers stay float",
        "offset": f"trt-int8 quantize MODEL --data DATA --recentre {name} -o QDQ_MODEL",
        "one_sided": f"trt-int8 quantize MODEL --data DATA --recentre {name} -o QDQ_MODEL",
        "outliers": "trt-int8 calibrate MODEL --data DATA --algorithm auto -o CACHE",
        "saturating": "trt-int8 calibrate MODEL --data DATA --algorithm minmax -o CACHE",
    }[flag]

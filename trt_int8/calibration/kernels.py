"""The two hot loops of calibration, compiled by numba where that pays: counting, and the entropy search.

numba is loaded when numpy would take longer than loading it; without numba, numpy does all the work, with
the same results. numba keeps the machine code where it always does: in ``NUMBA_CACHE_DIR`` if that is set,
else in the ``__pycache__`` of this package, else in the user's cache folder. numba unpickles what is there,
so it is told not to use a folder that others can write.
"""

from __future__ import annotations

import functools
import gc
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8 import progress
from trt_int8.calibration.ownership import intruder

#: Bins of a histogram on each side of zero.
BINS = 2048
_SLOTS = 2 * BINS + 1
#: Values whose bins are computed (vectorized) before they are counted (which cannot be vectorized).
_BLOCK = 4096
_SCRATCH = 4 * _SLOTS + _BLOCK
_ZERO = np.int32(BINS)
_SIGN = np.int32(31)
_HIGHEST = np.int32(0x7FFFFFFF)
_LOWEST = np.int32(-0x80000000)
_NOTHING, _SOMETHING = np.float32(0), np.float32(1)
#: log2 of the levels of the quantized distribution, and the levels.
_SHIFT = 7
_LEVELS = 1 << _SHIFT
#: Seconds of numpy's work that importing numba and loading stored machine code are worth.
_IMPORTING = 0.5
#: The same where numba is imported already.
_LOADING = 0.02


def new_scratch() -> npt.NDArray[np.int32]:
    """Return the working memory that `count` needs; a thread can use it again and again."""
    return np.zeros(_SCRATCH, np.int32)


def count(values: Any, scale: Any, limit: Any, slots: Any, scratch: Any) -> Any:
    """Add the counts of ``values`` to ``slots``, if they all fit.

    Extremes are found on the bits, as integers, because that vectorizes: flipping the magnitude bits of
    negative floats makes the order of float32 that of int32, with infinities and NaN beyond all numbers.

    Args:
        values: float32 [n], n ≥ 1.
        scale: float32, 1 / bin width, a power of two.
        limit: float32, the largest absolute value that fits.
        slots: int64 [2·BINS + 1]. Slot BINS counts zeros, slot BINS ± i the values in the i-th bin.
        scratch: from `new_scratch`. It holds four tables of counters, all 0 between calls. Neighbouring
            values go to different tables, so that a run of equal values does not wait for its own stores.

    Returns:
        The least and the greatest value, or those of a part with values beyond ``limit`` or NaN. Then
        nothing was counted.
    """
    size = values.size
    bits = values.view(np.int32)
    first, second, third, fourth = (
        scratch[:_SLOTS],
        scratch[_SLOTS : 2 * _SLOTS],
        scratch[2 * _SLOTS : 3 * _SLOTS],
        scratch[3 * _SLOTS : 4 * _SLOTS],
    )
    block = scratch[4 * _SLOTS :]
    floats = block.view(np.float32)
    lowest, highest = _HIGHEST, _LOWEST
    least, greatest = _NOTHING, _NOTHING
    left, right = np.int64(_SLOTS), np.int64(-1)  # the slots in use
    fits = True
    for start in range(0, size, _BLOCK):
        length = min(_BLOCK, size - start)
        some = values[start : start + length]
        some_bits = bits[start : start + length]
        low, high = _HIGHEST, _LOWEST
        for i in range(length):
            bit = some_bits[i]
            key = np.int32(bit ^ ((bit >> _SIGN) & _HIGHEST))
            low = min(low, key)
            high = max(high, key)
        lowest, highest = min(low, lowest), max(high, highest)
        block[0] = lowest ^ ((lowest >> _SIGN) & _HIGHEST)
        block[1] = highest ^ ((highest >> _SIGN) & _HIGHEST)
        least, greatest = floats[0], floats[1]
        if not (least >= -limit and greatest <= limit):
            fits = False
            break
        for i in range(length):
            scaled = some[i] * scale
            # Rounded away from zero; what float32 rounds to zero here is in the first bin, not zero.
            away = max(np.ceil(abs(scaled)), _SOMETHING if some[i] != _NOTHING else _NOTHING)
            block[i] = np.int32(np.copysign(away, scaled)) + _ZERO
        if size <= _BLOCK:
            for i in range(length):
                slots[np.uint32(block[i])] += 1
            return least, greatest
        low, high = _HIGHEST, _LOWEST
        for i in range(length):
            low = min(low, block[i])
            high = max(high, block[i])
        left, right = min(left, np.int64(low)), max(right, np.int64(high))
        whole = length // 4
        for i in range(whole):  # unsigned indices: negative ones would mean "from the end"
            first[np.uint32(block[4 * i])] += 1
            second[np.uint32(block[4 * i + 1])] += 1
            third[np.uint32(block[4 * i + 2])] += 1
            fourth[np.uint32(block[4 * i + 3])] += 1
        for i in range(4 * whole, length):
            first[np.uint32(block[i])] += 1
    # Only the slots in use: most of the time of a small array would go into the rest.
    used = slots[left : right + 1]
    first, second = first[left : right + 1], second[left : right + 1]
    third, fourth = third[left : right + 1], fourth[left : right + 1]
    if fits:
        for i in range(used.size):
            used[i] += np.int64(first[i]) + np.int64(second[i]) + np.int64(third[i]) + np.int64(fourth[i])
    first[:] = second[:] = third[:] = fourth[:] = 0
    return least, greatest


def divergences(values: Any, mass: Any, filled: Any, plogp: Any, candidates: Any, margin: Any) -> Any:
    """Compute KL(P‖Q) for each number of kept bins, or inf for one that cannot be the least.

    `trt_int8.calibration.thresholds.entropy` has the formula. Each level adds Σ c·ln c − S·ln(S/n) ≥ 0 to
    the divergence (the log-sum inequality), so that a candidate is given up as soon as its sum is above the
    least one so far.

    Args:
        values: float64 [bins], the counts.
        mass, filled: int64 [bins + 1], prefix sums of counts and of non-empty bins.
        plogp: float64 [bins + 1], prefix sums of c·ln c.
        candidates: int64 [n], each in 1 … bins.
        margin: how far above the least one a divergence may be and still counts.

    Returns:
        float64 [n].
    """
    total = np.float64(mass[values.size])
    result = np.empty(candidates.size)
    least = math.inf
    for c in range(candidates.size - 1, -1, -1):
        result[c] = math.inf
        kept = candidates[c]
        clipped = total - mass[kept]
        last = values[kept - 1]
        if clipped > 0 and last == 0:
            continue
        correction = 0.0
        if clipped > 0:
            start = (((kept - 1) * _LEVELS // kept) * kept + _LEVELS - 1) >> _SHIFT
            spread = np.float64(mass[kept] - mass[start]) / (filled[kept] - filled[start])
            both = last + clipped
            correction = both * math.log(both) - last * math.log(last) - clipped * math.log(spread)
        limit = (least + margin) * total - correction
        entropy = 0.0
        start = 0
        for level in range(1, _LEVELS + 1):
            end = (level * kept + _LEVELS - 1) >> _SHIFT
            inside = mass[end] - mass[start]
            if inside > 0:
                amount = np.float64(inside)
                entropy += amount * math.log(amount / (filled[end] - filled[start]))
                if plogp[end] - entropy > limit:
                    break
            start = end
        else:
            result[c] = (plogp[kept] - entropy + correction) / total
            least = min(least, result[c])
    return result


class Loop:
    """One of the functions above, compiled once that pays.

    Safe to use from several threads: while one loads the loop, the others wait, as all need the interpreter.

    Args:
        function: what numba compiles.
        signature: the types of its arguments and result, as numba writes them.

    Attributes:
        ready: the compiled loop, once there is one.
    """

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self._function = function
        self._signature = signature
        self.ready: Callable[..., Any] | None = None
        self._failed = False
        self._spent = 0.0
        self._lock = threading.Lock()

    def after(self, seconds: float, *, ahead: float = 0.0) -> Callable[..., Any] | None:
        """Return the compiled loop if it is there or pays now; None means that numpy shall do the work.

        Args:
            seconds: what numpy takes for the work at hand; it is added up over the calls.
            ahead: what numpy would take for the work that is likely to come.
        """
        if self.ready is not None or self._failed:
            return self.ready
        self._spent += seconds
        enough = _LOADING if "numba" in sys.modules else _IMPORTING
        return self.now() if self._spent + ahead >= enough else None

    def now(self) -> Callable[..., Any] | None:
        """Return the compiled loop; None where numba is missing or cannot compile it."""
        with self._lock:
            self._load()
        return self.ready

    def _load(self) -> None:
        if self.ready is not None or self._failed:
            return
        try:
            self.ready = _compiled(self._function, self._signature)
            self._failed = self.ready is None
        except ImportError:
            self._failed = True
        except Exception as error:  # numba raises all kinds
            self._failed = True
            progress.note(
                f"numba cannot compile here ({type(error).__name__}: {error}); numpy does its work, more "
                "slowly and with the same results"
            )


def _compiled(function: Callable[..., Any], signature: str) -> Callable[..., Any] | None:
    """Compile ``function``, or load what numba stored; None where numba is told not to compile."""
    with _without_collections(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, about its compiler and its cache
        import numba

        if getattr(numba.config, "DISABLE_JIT", False):
            return None
        try:
            cache = _may_cache(numba, function)
            return numba.njit(signature, nogil=True, error_model="numpy", cache=cache)(function)
        except Exception:  # no folder can be written, or what is stored there is damaged
            return numba.njit(signature, nogil=True, error_model="numpy")(function)


def _may_cache(numba: Any, function: Callable[..., Any]) -> bool:
    """Return whether nobody else can write the folder of numba's cache, before anything there is read."""
    given = numba.config.CACHE_DIR
    if given and _is_refused(given):
        return False
    # Without a signature, it is neither compiled nor loaded.
    return not _is_refused(numba.njit(cache=True)(function).stats.cache_path)


@functools.cache
def _is_refused(folder: str) -> bool:
    who = intruder(folder)
    if who is not None:
        progress.note(
            f"numba's cache in {folder} is not used, because {who}, and what is there runs as code; each run "
            "compiles again. Set NUMBA_CACHE_DIR to a folder that only you can write"
        )
    return who is not None


@contextmanager
def _without_collections() -> Iterator[None]:
    """Pause the garbage collector: numba makes many objects that stay, and loads in a fifth less time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


#: `count`, compiled.
COUNT = Loop(count, "UniTuple(float32, 2)(float32[::1], float32, float32, int64[::1], int32[::1])")
#: `divergences`, compiled.
SEARCH = Loop(
    divergences, "float64[::1](float64[::1], int64[::1], int64[::1], float64[::1], int64[::1], float64)"
)


def load_all() -> None:
    """Load both loops now, if numba is installed."""
    COUNT.now()
    SEARCH.now()


def cores() -> int:
    """Cores this process may run on, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

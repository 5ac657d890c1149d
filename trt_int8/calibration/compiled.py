"""numba's half of calibration: loops compiled once and cached on the disk, where numba is installed.

Importing numba takes as long as numpy needs to count some fifty million values, so it is loaded once that
much work is seen to be there, and what was counted until then is counted all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Values that numpy counts in the time that loading numba takes.
_WORTH_LOADING = 1 << 25


@dataclass(frozen=True)
class Kernels:
    """The compiled loops.

    Attributes:
        count: `trt_int8.calibration.counting_kernel.count_into`.
        diverge: `trt_int8.calibration.thresholds.entropy_kernel.divergences`.
    """

    count: Callable[..., Any]
    diverge: Callable[..., Any]


class _Loader:
    """Loads the kernels once; threads that come meanwhile go on without."""

    def __init__(self) -> None:
        self.kernels: Kernels | None = None
        self._missing = False
        self._seen = 0
        self._lock = threading.Lock()

    def after(self, work: int) -> Kernels | None:
        """The kernels if they are loaded, or are worth loading with ``work`` more values to count."""
        if self.kernels is not None or self._missing:
            return self.kernels
        self._seen += work
        if self._seen < _WORTH_LOADING or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._load()
        finally:
            self._lock.release()

    def now(self) -> Kernels | None:
        """The kernels; None without numba."""
        with self._lock:
            return self._load()

    def _load(self) -> Kernels | None:
        if self.kernels is None and not self._missing:
            try:
                import numba
            except ImportError:
                self._missing = True
                return None
            from trt_int8.calibration.counting_kernel import count_into
            from trt_int8.calibration.thresholds.entropy_kernel import divergences

            compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
            self.kernels = Kernels(compiled(count_into), compiled(divergences))
        return self.kernels


_loader = _Loader()


def kernels(*, work: int | None = None) -> Kernels | None:
    """The compiled loops; None without numba, and as long as loading it is not worth while.

    Args:
        work: values about to be counted; None: load them at once.
    """
    return _loader.now() if work is None else _loader.after(work)

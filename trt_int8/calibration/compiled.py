"""numba's half of calibration: loops compiled once and cached on the disk, where numba is installed.

Importing numba takes a while, so it is loaded once numpy has worked, or is about to work, for as long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Seconds that loading numba costs all threads together.
_LOADING = 0.4
#: A batch that takes numpy so many seconds is worth it at once: there will be some twenty more.
_LONG = 0.02


@dataclass(frozen=True)
class Kernels:
    """The compiled loops.

    Attributes:
        count: `trt_int8.calibration.counting_kernel.count_into`; ``count_all``: its other function.
        diverge: `trt_int8.calibration.thresholds.entropy_kernel.divergences`.
    """

    count: Callable[..., Any]
    count_all: Callable[..., Any]
    diverge: Callable[..., Any]


class _Loader:
    """Loads the kernels once; threads that come meanwhile go on without."""

    def __init__(self) -> None:
        self.kernels: Kernels | None = None
        self._missing = False
        self._spent = 0.0
        self._lock = threading.Lock()

    def after(self, spent: float, *, again: bool = False) -> Kernels | None:
        """The kernels if they are loaded, or worth loading after ``spent`` more seconds without."""
        if self.kernels is not None or self._missing:
            return self.kernels
        self._spent += spent
        worth = self._spent >= _LOADING or (again and spent >= _LONG)
        if not worth or not self._lock.acquire(blocking=False):
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
            from trt_int8.calibration.counting_kernel import count_all, count_into
            from trt_int8.calibration.thresholds.entropy_kernel import divergences

            compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
            self.kernels = Kernels(count_into, count_all, compiled(divergences))
        return self.kernels


_loader = _Loader()


def kernels(*, spent: float | None = None, again: bool = False) -> Kernels | None:
    """The compiled loops; None without numba, and as long as loading it is not worth while.

    Args:
        spent: seconds just spent without them, or about to be; None: load them at once.
        again: as much will be spent batch after batch.
    """
    return _loader.now() if spent is None else _loader.after(spent, again=again)

"""The loops of calibration in machine code, where numba is installed, and when to load them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from trt_int8.calibration import entropy_kernel
from trt_int8.calibration.counting_kernel import ARGUMENTS, count_all
from trt_int8.calibration.machine_code import Loop

#: Seconds of work for numpy, all threads together, that loading code from the disk is worth.
_LOADING = 0.01
#: The same for compiling it first.
_COMPILING = 0.4
#: A batch that takes numpy so many seconds is worth either at once: there will be some twenty more.
_LONG = 0.02


@dataclass(frozen=True)
class Kernels:
    """The compiled loops.

    Attributes:
        count: `trt_int8.calibration.counting_kernel.count_all` with scales in float32; ``count_wide``: in
            float64.
        diverge: `trt_int8.calibration.entropy_kernel.divergences`.
    """

    count: Loop
    count_wide: Loop
    diverge: Loop


class _Loader:
    """Loads the loop that counts once, the others when they are called.

    Threads that come meanwhile wait for the disk; where numba compiles, they go on without.
    """

    def __init__(self) -> None:
        self.kernels: Kernels | None = None
        self._missing = False
        self._spent = 0.0
        self._lock = threading.Lock()
        self._loops = Kernels(
            Loop(count_all, ARGUMENTS.format("float32")),
            Loop(count_all, ARGUMENTS.format("float64")),
            Loop(entropy_kernel.divergences, entropy_kernel.ARGUMENTS),
        )

    def after(self, spent: float, *, again: bool = False) -> Kernels | None:
        """The kernels if they are loaded, or worth loading for ``spent`` more seconds without."""
        if self.kernels is not None or self._missing:
            return self.kernels
        self._spent += spent
        stored = self._loops.count.stored
        worth = self._spent >= (_LOADING if stored else _COMPILING) or (again and spent >= _LONG)
        if not worth or not self._lock.acquire(blocking=stored):
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
                self._loops.count.load()
                self.kernels = self._loops
            except ImportError:
                self._missing = True
        return self.kernels


_loader = _Loader()


def kernels(*, spent: float | None = None, again: bool = False) -> Kernels | None:
    """The compiled loops; None without numba, and as long as loading it is not worth while.

    Args:
        spent: seconds about to be spent without them; None: load them at once.
        again: as much will be spent batch after batch.
    """
    return _loader.now() if spent is None else _loader.after(spent, again=again)

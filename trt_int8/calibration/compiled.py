"""The loops of calibration in machine code, and when each is worth loading or compiling."""

from __future__ import annotations

import threading
import warnings

from trt_int8.calibration.counting_kernel import ARGUMENTS, count_all
from trt_int8.calibration.entropy_kernel import ARGUMENTS as SEARCH_ARGUMENTS
from trt_int8.calibration.entropy_kernel import divergences
from trt_int8.calibration.machine_code import Loop

#: Seconds of work for numpy, all threads together, that looking for code on the disk is worth.
_LOADING = 0.01
#: The same for compiling it.
_COMPILING = 0.4
#: A batch that takes numpy so many seconds is worth compiling at once: there will be some twenty more.
_LONG = 0.02


class Compiled:
    """A loop that is there once it is worth while, and never where numba is not installed or fails."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._ready: Loop | None = None
        self._looked = self._given_up = False
        self._spent = 0.0
        self._lock = threading.Lock()

    def after(self, spent: float, *, again: bool = False) -> Loop | None:
        """The loop, if it is ready or worth making ready; None: go on with numpy.

        Args:
            spent: seconds that numpy would take now.
            again: as much will be spent batch after batch.
        """
        if self._ready is not None or self._given_up:
            return self._ready
        self._spent += spent
        if not self._looked and self._spent >= _LOADING:
            with self._lock:  # 30 ms: others wait
                self._look()
        worth = self._spent >= _COMPILING or (again and spent >= _LONG)
        if self._ready is None and worth and self._lock.acquire(blocking=False):  # seconds: others go on
            try:
                self._compile()
            finally:
                self._lock.release()
        return self._ready

    def now(self) -> Loop | None:
        """The loop; None where numba is not installed or fails."""
        with self._lock:
            self._look()
            self._compile()
        return self._ready

    def _look(self) -> None:
        if self._looked:
            return
        try:
            self._ready = self._loop if self._loop.load() else None
        except ImportError:
            self._given_up = True
        except Exception as error:  # so does llvmlite, of another version say
            self._give_up(error)
        finally:
            self._looked = True  # now, not before: who waited for the lock finds the loop

    def _compile(self) -> None:
        if self._ready is None and not self._given_up:
            try:
                self._loop.compile()
                self._ready = self._loop
            except ImportError:
                self._given_up = True
            except Exception as error:  # numba raises all kinds; numpy counts as well
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        warnings.warn(
            f"numba is of no use here ({type(error).__name__}: {error}); numpy counts instead, more slowly",
            RuntimeWarning,
            stacklevel=2,
        )


#: `trt_int8.calibration.counting_kernel.count_all` with scales in float32, and in float64.
COUNT = Compiled(Loop(count_all, ARGUMENTS.format("float32")))
COUNT_WIDE = Compiled(Loop(count_all, ARGUMENTS.format("float64")))
#: `trt_int8.calibration.entropy_kernel.divergences`.
SEARCH = Compiled(Loop(divergences, SEARCH_ARGUMENTS))

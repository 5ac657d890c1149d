"""A histogram that grows in place: what a thread keeps for one tensor while batches come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.compiled import kernels
from trt_int8.calibration.counting import BINS, add_compiled, counted, new_tables
from trt_int8.calibration.histogram import Histogram


class Tally:
    """Counts of one tensor; the same as `Histogram.add` gives, without a new histogram a batch.

    Args:
        tables: scratch memory, shared by the tallies of a thread.
    """

    def __init__(self, tables: npt.NDArray[np.int32]) -> None:
        self._histogram = Histogram.empty()
        self._tables = tables
        # What the compiled loop counted on the histogram's grid and is not in it yet.
        self._slots: npt.NDArray[np.int64] | None = None
        self._minimum, self._maximum = np.inf, -np.inf

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count ``values`` (any shape, any float dtype).

        Raises:
            CalibrationError: a value is NaN.
        """
        exponent = self._histogram.exponent
        loaded = kernels(work=values.size)
        if (
            loaded is not None
            and exponent is not None
            and values.dtype == np.float32
            and values.flags.c_contiguous
        ):
            if self._slots is None:
                self._slots = np.zeros(2 * BINS + 1, np.int64)
            extremes = add_compiled(loaded, values.reshape(-1), exponent, self._tables, self._slots)
            if extremes is not None:
                self._minimum = min(self._minimum, extremes[0])
                self._maximum = max(self._maximum, extremes[1])
                return
        self._histogram = self.histogram().add(values)
        self._slots, self._minimum, self._maximum = None, np.inf, -np.inf

    def histogram(self) -> Histogram:
        """What was counted so far."""
        if self._slots is None or self._maximum < self._minimum:
            return self._histogram
        record = counted(self._slots, self._minimum, self._maximum)
        return self._histogram.merge(Histogram(record.counts, self._histogram.exponent, *record[1:]))


def new_tallies(names: tuple[str, ...]) -> dict[str, Tally]:
    """A tally for each tensor, for the use of one thread."""
    tables = new_tables()
    return {name: Tally(tables) for name in names}

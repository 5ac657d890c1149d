"""Count what a model computes, batch after batch: histogram counts that grow in place."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.histogram import (
    Counts,
    Histogram,
    Scratch,
    add_counts,
    flattened,
    from_slots,
    new_slots,
    numpy_seconds,
)
from trt_int8.calibration.kernels import COUNT, new_scratch
from trt_int8.errors import CalibrationError

Array = npt.NDArray[np.generic]
#: Batches like the one at hand that are likely to come.
_AHEAD = 64


class HistogramCounts:
    """Histogram counts of the tensors of a model, for the use of one thread.

    The same as `Histogram.add` gives, without a new histogram for each batch.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._tensors = {name: _TensorCounts() for name in names}
        self._scratch = new_scratch()

    def add(self, values: Iterable[tuple[str, Array]], *, place: str) -> None:
        """Count the values of a batch, tensor by tensor.

        Raises:
            CalibrationError: a value is NaN; the tensor and ``place`` are named.
        """
        batch = 0.0
        for name, array in values:
            if COUNT.ready is None:
                batch += numpy_seconds(array)
                COUNT.after(0, ahead=_AHEAD * batch)
            try:
                self._tensors[name].add(array, self._scratch)
            except CalibrationError as error:
                raise CalibrationError(
                    f"{place}, tensor {name!r}: {error}; the model itself computes it from finite inputs, so "
                    "look at the operator that makes this tensor"
                ) from error

    def histograms(self) -> dict[str, Histogram]:
        """Return what was counted so far."""
        return {name: counts.histogram() for name, counts in self._tensors.items()}


class _TensorCounts:
    """Counts of one tensor."""

    def __init__(self) -> None:
        self._histogram = Histogram.empty()
        # What was counted on the histogram's grid and is not in it yet.
        self._slots: Counts | None = None
        self._minimum, self._maximum = math.inf, -math.inf

    def add(self, values: Array, scratch: Scratch) -> None:
        """Count ``values`` (any shape, any float dtype), and widen the grid where it is too narrow.

        Raises:
            CalibrationError: a value is NaN.
        """
        flat, exponent = flattened(values), self._histogram.exponent
        if exponent is not None and flat.size:
            if self._slots is None:
                self._slots = new_slots()
            extremes = add_counts(self._slots, flat, exponent, scratch=scratch)
            if extremes is not None:
                self._minimum = min(self._minimum, extremes[0])
                self._maximum = max(self._maximum, extremes[1])
                return
        self._histogram = self.histogram().add(flat)
        self._slots, self._minimum, self._maximum = None, math.inf, -math.inf

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        exponent = self._histogram.exponent
        if self._slots is None or exponent is None or self._maximum < self._minimum:
            return self._histogram
        return self._histogram.merge(from_slots(self._slots, exponent, self._minimum, self._maximum))

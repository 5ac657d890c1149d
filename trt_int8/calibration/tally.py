"""Histograms that grow in place: what a thread keeps while batches come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.compiled import COUNT, COUNT_WIDE, SEARCH
from trt_int8.calibration.counting import (
    BINS,
    CountingJob,
    Grid,
    add_compiled,
    counted,
    grid,
    new_scratch,
    numpy_takes,
    value_of_key,
)
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.machine_code import Loop
from trt_int8.errors import CalibrationError

Array = npt.NDArray[np.generic]

#: Values that are worth a call of the loop of their own, and whose memory is free again after it.
_LARGE = 1 << 18
_FLOAT32 = np.dtype(np.float32)
#: Keys that no value has: nothing was counted yet.
_NONE = (0x7FFFFFFF, -0x80000000)


class Tally:
    """Counts of one tensor; the same as `Histogram.add` gives, without a new histogram a batch."""

    def __init__(self) -> None:
        self._histogram = Histogram.empty()
        # What the compiled loop counted on the histogram's grid and is not in it yet.
        self._slots: npt.NDArray[np.int64] | None = None
        self._lowest, self._highest = _NONE
        self.grid: Grid | None = None

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """Where the compiled loop counts: int64 [2·BINS + 1], the zeros in the middle."""
        if self._slots is None:
            self._slots = np.zeros(2 * BINS + 1, np.int64)
        return self._slots

    def count(self, loop: Loop, values: Array, scratch: npt.NDArray[np.int32]) -> bool:
        """Count by the compiled loop; False, and nothing counted, if a value is beyond the grid."""
        assert self.grid is not None
        keys = add_compiled(loop, values.reshape(-1), self.grid, scratch, self.slots)
        if keys is not None:
            self.widen(*keys)
        return keys is not None

    def widen(self, lowest: int, highest: int) -> None:
        """Take note of the keys of the extremes of what was counted in ``slots``."""
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)

    def add(self, values: Array) -> None:
        """Count ``values`` (any shape, any float dtype), and widen the grid where it is too narrow.

        Raises:
            CalibrationError: a value is NaN.
        """
        self._histogram = self.histogram().add(values)
        self._slots, (self._lowest, self._highest) = None, _NONE
        exponent = self._histogram.exponent
        self.grid = None if exponent is None else grid(exponent)

    def histogram(self) -> Histogram:
        """What was counted so far."""
        if self._slots is None or self._highest < self._lowest:
            return self._histogram
        record = counted(self._slots, value_of_key(self._lowest), value_of_key(self._highest))
        return self._histogram.merge(Histogram(record.counts, self._histogram.exponent, *record[1:]))


class _Loop:
    """Counts arrays of the same sizes on the same grids, batch after batch."""

    def __init__(self, tallies: list[Tally], sizes: list[int], scratch: npt.NDArray[np.int32]) -> None:
        self.sizes = sizes
        self._tallies = tallies
        grids = [tally.grid for tally in tallies if tally.grid is not None]
        self._job = CountingJob(sizes, grids, [tally.slots for tally in tallies], scratch)
        self._extremes = np.tile(np.array(_NONE, np.int32), (len(tallies), 1))

    def count(self, loop: Loop, arrays: list[Array]) -> list[int]:
        """Count without the interpreter's lock; positions of arrays that do not fit and are not counted."""
        self._job.run(loop, arrays)
        found, ends = self._job.extremes, self._job.ends
        beyond = (found[:, 0] < ends[:, 0]) | (found[:, 1] > ends[:, 1])
        found[beyond] = _NONE
        np.minimum(self._extremes[:, 0], found[:, 0], out=self._extremes[:, 0])
        np.maximum(self._extremes[:, 1], found[:, 1], out=self._extremes[:, 1])
        return np.flatnonzero(beyond).tolist()

    def finish(self) -> None:
        """Tell the tallies the extremes of what was counted."""
        for tally, (lowest, highest) in zip(self._tallies, self._extremes.tolist(), strict=True):
            tally.widen(lowest, highest)
        self._extremes[:] = _NONE


class Tallies:
    """A tally for each tensor, for the use of one thread."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tallies = {name: Tally() for name in names}
        self._scratch = new_scratch()
        self._loop: _Loop | None = None
        self._names: list[str] = []

    def add(self, values: Iterable[tuple[str, Array]], *, place: str) -> None:
        """Count the values of a batch, tensor by tensor.

        Raises:
            CalibrationError: a value is NaN; the tensor and ``place`` are named.
        """
        loop = COUNT.after(0)
        ready: list[tuple[str, Array]] = []
        left: list[tuple[str, Array]] = []
        for name, array in values:
            tally = self._tallies[name]
            if loop is None and array.size >= _LARGE:
                loop = COUNT.after(numpy_takes([array]), again=True)
            fits = _fits_the_loop(tally, array)
            if array.size < _LARGE:
                (ready if fits else left).append((name, array))
            elif not (fits and loop is not None and tally.count(loop, array, self._scratch)):
                self._add(name, array, place)
        if loop is not None and ready:
            names, arrays = [name for name, _ in ready], [array for _, array in ready]
            left += [ready[i] for i in self._prepared(names, arrays).count(loop, arrays)]
        else:
            left += ready
        if loop is None:
            COUNT.after(numpy_takes([array for _, array in left]), again=True)
        for name, array in left:
            self._add(name, array, place)

    def histograms(self) -> dict[str, Histogram]:
        """What was counted so far."""
        if self._loop is not None:
            self._loop.finish()
        return {name: tally.histogram() for name, tally in self._tallies.items()}

    def _prepared(self, names: list[str], arrays: list[Array]) -> _Loop:
        sizes = [array.size for array in arrays]
        if self._loop is None or self._names != names or self._loop.sizes != sizes:
            self._drop_loop()
            self._names = names
            self._loop = _Loop([self._tallies[name] for name in names], sizes, self._scratch)
        return self._loop

    def _drop_loop(self) -> None:
        if self._loop is not None:
            self._loop.finish()
        self._loop = None

    def _add(self, name: str, array: Array, place: str) -> None:
        self._drop_loop()  # the grid may change
        try:
            self._tallies[name].add(array)
        except CalibrationError as error:
            raise CalibrationError(
                f"{place}, tensor {name!r}: {error}; the model itself computes it from finite inputs, so "
                "look at the operator that makes this tensor"
            ) from error


def load_loops() -> None:
    """Load the compiled loops, if numba is installed, and count once."""
    for loop in (COUNT, COUNT_WIDE, SEARCH):
        loop.now()
    tallies = Tallies(("small", "large"))
    for _ in range(2):  # the first values choose the grid
        tallies.add([("small", np.ones(1, np.float32)), ("large", np.ones(_LARGE, np.float32))], place="")


def _fits_the_loop(tally: Tally, array: Array) -> bool:
    return (
        tally.grid is not None
        and tally.grid.exact
        and array.dtype == _FLOAT32
        and array.flags.c_contiguous
        and array.size > 0
    )

"""Sources of samples with random access: arrays in memory, and random numbers to time an engine with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec
from trt_int8.graph.shapes import GivenShapes, Shapes, resolve_shapes

#: Input name → array, the first axis counting the samples.
Batch = Mapping[str, npt.NDArray[np.generic]]


class Samples(Protocol):
    """A source of samples with random access.

    ``fetch(indices)`` returns the samples at ``indices``, in that order; a source that skips bad samples
    returns fewer. ``place`` names the source in messages.
    """

    @property
    def place(self) -> str: ...

    def __len__(self) -> int: ...

    def fetch(self, indices: npt.NDArray[np.int64]) -> Batch: ...


@dataclass(frozen=True)
class ArraySamples:
    """Samples in arrays, one per input; the first axis counts the samples.

    Raises:
        DataError: an array has no axis, or the arrays have different numbers of samples.
    """

    arrays: Mapping[str, npt.NDArray[np.generic]]
    place: str = "the arrays"

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if array.ndim == 0:
                raise DataError(
                    f"{self.place}: {name!r} is a single number; the first axis must count the samples"
                )
        counts = {name: len(array) for name, array in self.arrays.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise DataError(
                f"{self.place}: inputs have different numbers of samples ({listed}); "
                "the first axes must be equally long"
            )

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def fetch(self, indices: npt.NDArray[np.int64]) -> Batch:
        return {name: np.asarray(array[indices]) for name, array in self.arrays.items()}


#: The warning of a calibration with `RandomSamples`.
WARNING = "ranges come from random numbers: the engine's speed is right, its results on real data are WRONG"


@dataclass(frozen=True)
class RandomSamples:
    """Floats uniform in [−1, 1), integers and booleans 0 or 1; the same seed gives the same numbers.

    Ranges calibrated with them do not fit real data. They are used only on request. Dynamic inputs take
    their opt shape.
    """

    specs: Mapping[str, InputSpec]
    count: int
    shapes: Shapes
    seed: int = 0
    place: str = "random data"

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: npt.NDArray[np.int64]) -> Batch:
        return {name: np.stack([self._sample(name, int(i)) for i in indices]) for name in self.specs}

    def _sample(self, name: str, index: int) -> npt.NDArray[np.generic]:
        spec = self.specs[name]
        known = self.shapes[name].opt if name in self.shapes else spec.shape
        shape = tuple(int(size) for size in known[1:])
        random = np.random.default_rng([self.seed, index, list(self.specs).index(name)])
        if spec.is_float:
            return random.uniform(-1, 1, shape).astype(spec.dtype)
        return random.integers(0, 2, shape).astype(spec.dtype)


def random_samples(
    specs: Mapping[str, InputSpec], count: int, *, shapes: GivenShapes | None = None, seed: int = 0
) -> RandomSamples:
    """Return ``count`` random samples; `ShapeError` if a dynamic input is not in ``shapes``."""
    return RandomSamples(specs, count, resolve_shapes(specs, shapes, batch_size=1), seed)

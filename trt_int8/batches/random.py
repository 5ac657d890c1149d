"""Random numbers in place of data, for those who only want to time an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trt_int8.model.inputs import InputSpec
from trt_int8.model.shape_range import GivenShapes, Shapes
from trt_int8.model.shapes import resolve_shapes

#: What to tell whoever calibrates with `RandomSamples`.
WARNING = (
    "ranges come from random numbers: the engine will show its speed, and give WRONG results on real data"
)


@dataclass(frozen=True)
class RandomSamples:
    """Floats uniform in [−1, 1), integers and booleans 0 or 1; the same ones for the same seed.

    Ranges calibrated with them fit no real data. Never used unless asked for.

    Attributes:
        specs: the inputs to make numbers for.
        shapes: for dynamic inputs; their opt shapes are used.
        count: number of samples.
    """

    specs: Mapping[str, InputSpec]
    count: int
    shapes: Shapes
    seed: int = 0
    place: str = "random data"

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
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
    """``count`` random samples for ``specs``.

    Raises:
        ShapeError: an input is dynamic and ``shapes`` do not say how large.
    """
    return RandomSamples(specs, count, resolve_shapes(specs, shapes, batch_size=1), seed)

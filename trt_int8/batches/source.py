"""What every data source looks like to the batcher: a number of samples, and access by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trt_int8.errors import DataError


class Samples(Protocol):
    """A source of samples with random access.

    ``fetch(indices)`` returns ``{input name: array}`` with the samples stacked on the first axis, in
    the order of ``indices``; a source that leaves out bad samples returns fewer. ``place`` names the
    source in messages.
    """

    @property
    def place(self) -> str: ...

    def __len__(self) -> int: ...

    def fetch(self, indices: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]: ...


@dataclass(frozen=True)
class ArraySamples:
    """Samples held in arrays, one per input, the first axis counting the samples.

    Raises:
        DataError: an array has no axis, or the arrays disagree on the number of samples.
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

    def fetch(self, indices: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
        return {name: np.asarray(array[indices]) for name, array in self.arrays.items()}

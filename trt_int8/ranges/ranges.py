"""The symmetric dynamic range of each tensor, with its origin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TensorRange:
    """Values from -amax to amax map to INT8 codes -127 to 127; values beyond are clipped.

    Attributes:
        amax: 0 for a tensor that was always zero; inf if a cache has that. It is a float64, in which
            127 · scale is exact for every float32 scale.
        source: its origin: an algorithm, ``entropy of conv1``, a cache file, …
    """

    amax: float
    source: str

    def __post_init__(self) -> None:
        if math.isnan(self.amax) or self.amax < 0:
            raise ValueError(f"amax is {self.amax}; it must be 0 or more")

    @property
    def scale(self) -> np.float32:
        """amax / 127, the step of one INT8 code, as TensorRT and ONNX store it."""
        # Rounded once, from float64, so that a scale from a cache keeps its bits.
        with np.errstate(over="ignore"):
            return np.float32(self.amax / 127)

    @property
    def usable(self) -> bool:
        """Whether TensorRT accepts the scale: it must be positive and finite in float32."""
        return bool(0 < self.scale < np.inf)


class Ranges(Mapping[str, TensorRange]):
    """Tensor name → `TensorRange`, in the graph's order. Read-only.

    Raises:
        TypeError: a value is not a `TensorRange`.
    """

    def __init__(self, ranges: Mapping[str, TensorRange]) -> None:
        self._ranges = dict(ranges)
        for name, value in self._ranges.items():
            if not isinstance(value, TensorRange):
                raise TypeError(
                    f"the range of {name!r} is {value!r}; it must be a TensorRange:"
                    " TensorRange(amax, source='set manually')"
                )

    def __getitem__(self, name: str) -> TensorRange:
        return self._ranges[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __repr__(self) -> str:
        return f"Ranges({len(self)} tensors)"


def require_ranges(ranges: Any) -> None:
    """Check that ``ranges`` is a `Ranges`.

    Raises:
        TypeError: it is not; the message says how to make one.
    """
    if isinstance(ranges, Ranges):
        return
    fix = "CalibrationCache.read(path).ranges() or calibrate(…).ranges"
    if isinstance(ranges, Mapping):
        fix = "Ranges({name: TensorRange(amax, source='set manually')})"
    raise TypeError(f"ranges is a {type(ranges).__name__}; it must be Ranges: {fix}")

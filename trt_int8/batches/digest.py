"""A hash of samples that depends neither on their order nor on how they were cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


class DataDigest:
    """The sum, modulo 2**256, of the SHA-256 of every sample added so far."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, batch: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add each sample of ``{input name: array}``; their first axis counts them."""
        arrays = {name: np.ascontiguousarray(batch[name]) for name in sorted(batch)}
        counted = {name: array if np.ndim(batch[name]) else array[None] for name, array in arrays.items()}
        for index in range(max(map(len, counted.values()))):
            sample = hashlib.sha256()
            for name, array in counted.items():
                if index < len(array):
                    sample.update(f"{name} {array.dtype.str} {array.shape[1:]} ".encode())
                    sample.update(np.ascontiguousarray(array[index]).reshape(-1).view(np.uint8).data)
            self._sum = (self._sum + int.from_bytes(sample.digest(), "big")) % 2**256

    def hexdigest(self) -> str:
        return f"{self._sum:064x}"

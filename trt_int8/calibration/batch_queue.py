"""Batches for several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8.batches.digest import DataDigest
from trt_int8.errors import DataError

Batch = dict[str, npt.NDArray[np.generic]]


class BatchQueue:
    """Numbered batches for several threads; the first thing wrong, by batch number, stops them all.

    Args:
        batches: checked ones.
        first: number of the first one.
        digest: gets every batch that is taken; None: they are not hashed.

    Attributes:
        taken: batches handed out so far.
        ended: no batch is left.
    """

    def __init__(self, batches: Iterator[Batch], *, first: int = 0, digest: DataDigest | None = None) -> None:
        self._batches = batches
        self._first = first
        self._digest = digest
        self._lock = threading.Lock()
        self._errors: list[tuple[int, BaseException]] = []
        self._closed = False
        self._limit: int | None = None
        self.taken = 0
        self.ended = False

    def allow(self, count: int | None) -> None:
        """Hand out ``count`` more batches, then stop until the next call; None: all there are."""
        self._limit = None if count is None else self.taken + count

    def take(self) -> tuple[int, Batch] | None:
        """The next batch and its number; None where there is none, none is allowed, or something failed."""
        with self._lock:
            if self._closed or self.ended or self.taken == self._limit:
                return None
            try:
                batch = next(self._batches, None)
                if batch is not None:  # a copy: the source may fill the same array again
                    batch = {name: array.copy() for name, array in batch.items()}
                if batch is not None and self._digest is not None:
                    self._digest.add(batch)
            except SystemExit as error:  # would end the program as if all had gone well
                stopped = DataError(f"the data source called sys.exit({error.code!r}); let it return instead")
                stopped.__cause__ = error
                self._errors.append((self._first + self.taken, stopped))
                batch = None
            except BaseException as error:  # the loader's, raised to the caller by `raise_first`
                self._errors.append((self._first + self.taken, error))
                batch = None
            if batch is None:
                self.ended = True
                return None
            self.taken += 1
            return self._first + self.taken - 1, batch

    def skip(self, count: int) -> bool:
        """Take ``count`` batches for nothing; whether there were as many."""
        self.allow(count)
        while self.take() is not None:
            pass
        return self.taken == count

    def stop(self, number: int, error: BaseException) -> None:
        """Batch ``number`` failed."""
        with self._lock:
            self._errors.append((number, error))
            self._closed = True

    def close(self) -> None:
        """Hand out nothing any more."""
        # Without the lock: a loader that hangs holds it.
        self._closed = True

    def raise_first(self) -> None:
        """Raise what failed at the lowest batch number, if anything did."""
        if self._errors:
            error: Any = min(self._errors, key=lambda entry: entry[0])[1]
            raise error

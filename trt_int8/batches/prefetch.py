"""Prepare the next batches while the current one is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def prefetched(batches: Iterable[T], *, ahead: int = 2) -> Iterator[T]:
    """Pass ``batches`` on in order, up to ``ahead`` of them made beforehand by a thread.

    An exception comes where the batch would have come. Closing this iterator waits for the batch that
    is being made and drops the rest.
    """
    iterator = iter(batches)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        pending = deque(pool.submit(next, iterator, _END) for _ in range(ahead))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, iterator, _END))
            yield item  # type: ignore[misc]  # _END is out of the way
    finally:
        pool.shutdown(cancel_futures=True)

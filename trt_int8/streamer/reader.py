"""Load batch k+1 in a thread while batch k is consumed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Loaded = TypeVar("Loaded")
Staged = TypeVar("Staged")
#: Seconds that `ReadAhead.close` waits for a loader in the middle of a batch.
PATIENCE = 5.0


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    """Marks the end of the items."""


class ReadAhead(Generic[Loaded, Staged]):
    """Loads and stages the items of an iterator in a separate thread.

    At most ``ahead`` staged items are unconsumed or in use at a time; one more may be loaded and waiting.

    Args:
        items: the iterator. Only the thread uses it, and closes it at the end if it has ``close``.
        stage: ``stage(index, item)`` returns the staged item, which `next` returns.
        borrows: whether a staged item is still in memory of the loader. Then the next item is loaded after
            the consumer has finished with this one, since the loader may reuse that memory.
        ahead: number of items that may be staged at a time.
    """

    def __init__(
        self,
        items: Iterator[Loaded],
        stage: Callable[[int, Loaded], Staged],
        *,
        borrows: Callable[[Staged], bool],
        ahead: int,
    ) -> None:
        self._items, self._stage, self._borrows = items, stage, borrows
        self._free = threading.Semaphore(ahead)
        self._handed_back = threading.Semaphore(0)
        self._ready: queue.SimpleQueue[Staged | _Failure | _End] = queue.SimpleQueue()
        self._staging = threading.Lock()
        self._closing = False
        self._in_use = self._in_use_borrows = False
        # It is a daemon, because a hanging loader must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="trt_int8 batch reader", daemon=True)
        self._thread.start()

    def next(self) -> Staged | None:
        """Return the next staged item, None at the end, or raise what the iterator or ``stage`` raised.

        The previous item may be overwritten from now on.
        """
        if self._in_use:
            self._in_use = False
            self._free.release()
            if self._in_use_borrows:
                self._handed_back.release()
        item = self._ready.get()
        if isinstance(item, _End | _Failure):
            self._ready.put(item)  # for the next call
            if isinstance(item, _Failure):
                raise item.error
            return None
        self._in_use = True
        self._in_use_borrows = self._borrows(item)
        return item

    def close(self) -> None:
        """End the thread. After this no item is staged any more.

        If the loader is in the middle of a batch, this waits `PATIENCE` seconds at most.
        """
        with self._staging:
            self._closing = True
        self._free.release()
        self._handed_back.release()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            try:
                self._read()
            finally:
                close = getattr(self._items, "close", None)
                if close is not None:
                    close()
            self._ready.put(_End())
        except BaseException as error:
            self._ready.put(_Failure(error))

    def _read(self) -> None:
        for index, item in enumerate(self._items):
            self._free.acquire()
            with self._staging:
                if self._closing:
                    return
                staged = self._stage(index, item)
            self._ready.put(staged)
            if self._borrows(staged):
                self._handed_back.acquire()
            if self._closing:
                return

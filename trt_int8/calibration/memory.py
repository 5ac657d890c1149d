"""The memory of this process."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

_PROCESS = Path("/proc/self")
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 18


def resident() -> int:
    """Bytes of memory this process holds now (its peak, where the system does not tell)."""
    try:
        return int((_PROCESS / "statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return _peak()


def return_memory_at_once() -> None:
    """Let glibc give large blocks back to the system when they are freed, from now on.

    mallopt(3): it otherwise raises its threshold with the blocks it sees, up to 32 MiB, and keeps them.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


class PeakMemory:
    """Measures the most memory this process holds while the block runs.

    Attributes:
        bytes: that, once the block is over; at least, where the system cannot forget earlier peaks.
    """

    bytes = 0

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = _peak()


def _peak() -> int:
    try:
        status = (_PROCESS / "status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024
    except (OSError, ValueError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

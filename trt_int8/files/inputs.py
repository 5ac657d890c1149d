"""Open and read input files: never wait for a pipe without a writer, never read more than a limit.

Regular files, ``<(…)`` and /dev/stdin are read. A named pipe is read if somebody writes to it. Folders,
devices and sockets are refused. A refusal is an `OSError` whose ``strerror`` says what is wrong and what to
give.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
from pathlib import Path
from typing import Protocol

MIB = 1 << 20
#: The largest calibration cache, plan, configuration, sidecar or state file, in bytes.
TEXT_LIMIT = 64 * MIB
#: The largest layer information or profile in JSON, in bytes.
JSON_LIMIT = 1024 * MIB
#: Places of descriptors that the caller opened: the other end of these pipes is the caller's business.
_OWN = ("/dev/fd/", "/dev/stdin", "/proc/")
_GROUP = Path("/sys/fs/cgroup")
#: Seconds to wait for the first byte from a named pipe.
_PATIENCE = 5.0


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def fileno(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes: ...


def open_input(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file, ``<(…)``, /dev/stdin or a named pipe with a writer, to read bytes.

    Raises:
        OSError: there is no such file, or it is a folder, a device, a socket, or a pipe without a writer.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a NUL or a lone surrogate, from a configuration file
        raise OSError(errno.EINVAL, "no file can have this name; correct it", os.fspath(path)) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if stat.S_ISREG(mode) or _is_own(path) or os.path.realpath(path) == os.devnull:
        return open(path, "rb")
    if stat.S_ISFIFO(mode):
        return _named_pipe(path)
    raise OSError(errno.EINVAL, "a device or a socket; give a regular file", os.fspath(path))


def read_input(path: str | os.PathLike[str], *, limit: int | None = None) -> bytes:
    """Read a file of at most ``limit`` bytes (None: half of the free memory); see `open_input`.

    Raises:
        OSError: see `open_input`; or the file is larger, which is found before it is read.
    """
    with open_input(path) as file:
        return read_limited(file, path, limit=limit)


def read_limited(file: Readable, path: str | os.PathLike[str], *, limit: int | None) -> bytes:
    """Return the rest of ``file``, of at most ``limit`` bytes; see `read_input`.

    Raises:
        OSError: there is more; names ``path``.
    """
    most = free_memory() // 2 if limit is None else limit  # readers make a copy
    size = os.fstat(file.fileno()).st_size
    data = file.read(most + 1) if size <= most else b""
    if max(size, len(data)) > most:
        shown = f"{size_text(size)} are" if size > most else "it is"
        allowed = "half of the free memory" if limit is None else "the limit for such a file"
        raise OSError(errno.EFBIG, f"{shown} more than {size_text(most)}, {allowed}", os.fspath(path))
    return data


def free_memory() -> int:
    """Return about how many bytes this process can still take: of the machine and of its control group."""
    free = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free.append(next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024)
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit, used = ((_GROUP / name).read_text("ascii") for name in ("memory.max", "memory.current"))
        free.append(max(int(limit) - int(used), 0))
    if not free:
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(free)


def size_text(size: int) -> str:
    """Return a number of bytes as text, at least 1 MiB.

    Examples:
        >>> size_text(64 << 20), size_text(5 << 40)
        ('64 MiB', '5120 GiB')
    """
    return f"{-(-size // MIB)} MiB" if size < 10 * 1024 * MIB else f"{size / 1024 / MIB:.0f} GiB"


def _is_own(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` leads to a descriptor that this process was started with."""
    return os.path.abspath(path).startswith(_OWN) or os.path.realpath(path).startswith(_OWN)


def _named_pipe(path: str | os.PathLike[str]) -> io.BufferedReader:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # does not wait for a writer
    if not select.select([descriptor], [], [], _PATIENCE)[0]:
        os.close(descriptor)
        raise OSError(
            errno.EINVAL,
            f"a named pipe that nobody wrote to for {_PATIENCE:g} seconds; give a regular file or <(command)",
            os.fspath(path),
        )
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")

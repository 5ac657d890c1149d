"""Open and read input files: never wait for a pipe without a writer, never read more than a limit.

Regular files, ``<(…)`` and /dev/stdin are read. A named pipe is read if somebody writes to it. Folders,
devices and sockets are refused. A refusal is an `OSError` whose ``strerror`` says what is wrong and what to
give.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import BinaryIO

MIB = 1 << 20
#: The largest calibration cache, plan, configuration, sidecar or state file, in bytes.
TEXT_LIMIT = 64 * MIB
#: The largest layer information or profile in JSON, in bytes.
JSON_LIMIT = 1024 * MIB
#: Places of descriptors that the caller opened: the other end of these pipes is the caller's business.
_OWN = ("/dev/fd/", "/dev/stdin", "/proc/")
#: Seconds to wait for the first byte from a named pipe.
_PATIENCE = 5.0


def open_input(path: str | os.PathLike[str]) -> BinaryIO:
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


def read_input(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes; see `open_input`.

    Raises:
        OSError: see `open_input`; or the file is larger, which is found before it is read.
    """
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(limit + 1) if size <= limit else b""
    if max(size, len(data)) > limit:
        shown = f"{-(-size // MIB)} MiB are" if size > limit else "it is"
        raise OSError(
            errno.EFBIG, f"{shown} more than the limit of {limit // MIB} MiB for such a file", os.fspath(path)
        )
    return data


def _is_own(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` leads to a descriptor that this process was started with."""
    return os.path.abspath(path).startswith(_OWN) or os.path.realpath(path).startswith(_OWN)


def _named_pipe(path: str | os.PathLike[str]) -> BinaryIO:
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

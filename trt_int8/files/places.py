"""Find out what a path is: a file, a link, a stream or a mount point, and why it cannot be written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from trt_int8.errors import OutputError

FilePath = str | os.PathLike[str]
#: Names of a stream that is open already; opening it again would begin at the start of a redirected file.
_STREAMS = re.compile(r"/dev/(stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_READ_ONLY = "it is read-only; make it writable, or choose another name"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def is_stream(path: FilePath) -> bool:
    """Return whether ``path`` is a stream that is open already, or `is_special`."""
    return open_stream(path) is not None or is_special(path)


def is_special(path: FilePath) -> bool:
    """Return whether ``path`` is a pipe, a device or a socket: it exists, and is no file and no folder."""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def open_stream(path: FilePath) -> int | None:
    """Return the open descriptor that ``path`` names, such as 1 for /dev/stdout."""
    named = _STREAMS.fullmatch(os.fspath(path))
    if named is None:
        return None
    return _STANDARD[named[1]] if named[1] else int(named[2])


def require_open_stream(descriptor: int) -> None:
    """Raise OSError if this stream is closed, or open only for reading."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "the stream is open only for reading")


def file_to_write(path: FilePath, *, follow: bool = True) -> Path:
    """Return the absolute path of the regular file that ``path`` names; it need not exist.

    Args:
        path: the path.
        follow: if ``path`` is a link, return the file that it points to, else the link.

    Raises:
        OSError: it is a folder or read-only, the folder is missing, a name is too long, or links make a loop.
    """
    if os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    target = Path(os.path.realpath(path) if follow else _in_real_folder(path))
    try:
        kind = os.lstat(target).st_mode
    except FileNotFoundError:
        os.stat(target.parent)
        return target
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if stat.S_ISLNK(kind):
        if follow:  # realpath gives up
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return target
    if not kind & _WRITABLE:  # also for root, who may write everything
        raise PermissionError(errno.EACCES, _READ_ONLY)
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK))
    except FileNotFoundError:  # another process replaces it
        pass
    except PermissionError as error:
        raise PermissionError(errno.EACCES, _READ_ONLY) from error
    return target


def _in_real_folder(path: FilePath) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))


def is_mount_point(target: Path) -> bool:
    """Return whether the file is mounted by itself (``docker run -v FILE:FILE``): it cannot be replaced."""
    if not target.exists():
        return False
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:  # not Linux: os.replace finds out
        return False
    points = (mount.split(b" ")[4] for mount in mounts)
    return os.fsencode(target) in {
        re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), point) for point in points
    }


@contextlib.contextmanager
def translated(path: FilePath) -> Iterator[None]:
    """Raise an OutputError for an OSError, or for a name that no file can have."""
    try:
        yield
    except ValueError as error:  # a null byte
        raise OutputError(f"cannot write {os.fspath(path)!r}: {error}; choose another name") from error
    except OSError as error:
        raise error_of(path, error) from error


def error_of(path: FilePath, error: OSError) -> OutputError:
    """Return the error of a file that cannot be written, with what to do."""
    folder = Path(path).parent
    if folder.is_dir():  # of a link
        folder = Path(os.path.realpath(path)).parent
    reason = error.strerror or str(error)
    if error.errno == errno.EISDIR:
        reason = "it is a folder; give a file name"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR) and not folder.is_dir():
        reason = f"the folder {folder} does not exist; create it first"
    elif error.errno in (errno.EACCES, errno.EROFS) and not os.access(folder, os.W_OK):
        reason = f"the folder {folder} is not writable; choose another"
    elif error.errno == errno.ENAMETOOLONG:
        reason = "the name is too long; choose a shorter one"
    elif error.errno == errno.ELOOP:
        reason = "it is a link that leads back to itself; choose another name"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"{reason}; free some space, or choose another folder"
    return OutputError(f"cannot write {path}: {reason}")

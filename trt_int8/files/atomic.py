"""Write result files so that a reader finds the old content or the new one, never a part or a mixture.

A result is written to a temporary file next to its target: with a random name, created exclusively, never
through a link, and locked while its process lives. `commit` renames it. So a killed process leaves the old
files, and a temporary one that the next result of this name removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trt_int8.arguments import require_path
from trt_int8.errors import OutputError

FilePath = str | os.PathLike[str]
#: Names of a stream that is open already; opening it again would begin at the start of a redirected file.
_STREAMS = re.compile(r"/dev/(stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_SUFFIX = ".trt_int8.tmp"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

_recordings: list[list[Path]] = []


def write_bytes(path: FilePath, data: bytes | bytearray | memoryview, *, result: bool = True) -> None:
    """Replace ``path`` by ``data`` in one step.

    After any failure, Ctrl-C included, ``path`` is unchanged and no temporary file remains. A link is
    followed. A pipe, a device or /dev/stdout is not replaced but written to; so is a file that is a mount
    point, with a warning.

    Args:
        path: the file to write.
        data: its content.
        result: the file is a result, which `recorded` lists, and no state of work that goes on.

    Raises:
        OutputError: the folder is missing or not writable, the file is read-only, the disk is full, …
        TypeError: ``path`` is not a path.
    """
    require_path(path, "path", of="the file to write")
    if is_stream(path):
        with _translated(path):
            flags, descriptor = os.O_WRONLY | os.O_NOCTTY, _open_stream(path)
            target = os.open(path, flags) if descriptor is None else os.dup(descriptor)
            with os.fdopen(target, "wb") as stream:
                stream.write(data)
        return
    with Staged(path) as staged:
        staged.write(data)
        commit(staged, result=result)


def write_text(path: FilePath, text: str, *, result: bool = True) -> None:
    """Write ``text`` in UTF-8 by `write_bytes`; newlines are not changed."""
    write_bytes(path, text.encode("utf-8"), result=result)


class Staged:
    """A result in a temporary file, until `commit` puts it in place. A context manager.

    Args:
        path: the file to write, a regular one.
        follow: if ``path`` is a link, write the file that it points to; else replace the link.

    Attributes:
        target: the file to write. It may be changed until `commit`, within its folder.
        path: the temporary file.
        file: the temporary file, open for writing.
        committed: the file is in place.

    Raises:
        OutputError: the folder is missing or not writable, the file is read-only, …
    """

    file: BinaryIO

    def __init__(self, path: FilePath, *, follow: bool = True) -> None:
        with _translated(path):
            self.target = _resolved(path) if follow else Path(path)
            _require_no_read_only(self.target)
            self._in_place = _is_mount_point(self.target)
            folder = Path(tempfile.gettempdir()) if self._in_place else self.target.parent
            prefix = _prefix(self.target)
            _remove_leftovers(folder, prefix)
            self.committed = False
            self._backup: Path | None = None
            self._lock: int | None = None
            try:
                with _uninterrupted():
                    self.file, self.path = _create(folder, prefix)
            except KeyboardInterrupt:
                self._discard()
                raise

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        if not self.committed:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        with contextlib.suppress(OSError):  # what was not flushed has nowhere to go
            self.file.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data``; OutputError if it cannot be written."""
        with _translated(self.target):
            self.file.write(data)

    def keep_as(self, path: FilePath) -> None:
        """Rename what has been written so far, which may be incomplete, to ``path``, which is replaced.

        Raises:
            OSError: that is not possible.
        """
        with contextlib.suppress(OSError):  # a full disk: the rest is lost
            self._finish()
        os.replace(self.path, path)
        self.target, self.committed = Path(path), True

    def _finish(self) -> None:
        self.file.flush()
        os.fchmod(self.file.fileno(), _mode(self.target))
        os.fsync(self.file.fileno())

    def _back_up(self, *, keep: bool) -> None:
        """Give the old file a second name, or with ``keep=False`` only that one. It is locked, too."""
        if self._in_place or not self.target.exists():
            return
        self._lock = os.open(self.target, os.O_RDONLY | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        backup = self.path.with_name(f"{self.path.name[: -len(_SUFFIX)]}.old{_SUFFIX}")
        (os.link if keep else os.rename)(self.target, backup)
        self._backup = backup

    def _replace(self) -> None:
        if not self._in_place:
            try:
                os.replace(self.path, self.target)
                self.committed = True
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
        logging.getLogger("trt_int8").warning(
            "%s is a mount point, so it was written in place; other readers may have seen a part of it",
            self.target,
        )
        with self.path.open("rb") as new, self.target.open("r+b") as file:
            while block := new.read(1 << 20):
                file.write(block)
            file.truncate()
            os.fsync(file.fileno())
        os.unlink(self.path)
        self.committed = True

    def _restore(self) -> None:
        if self._backup is not None:
            os.replace(self._backup, self.target)
        elif self.committed:
            os.unlink(self.target)

    def _forget_backup(self) -> None:
        if self._backup is not None:
            with contextlib.suppress(OSError):  # gone if it was restored
                os.unlink(self._backup)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def commit(main: Staged, *others: Staged, result: bool = True) -> None:
    """Put ``main`` in place, and ``others`` that belong to it. After a failure all files are as before.

    Ctrl-C is delayed until it is done. A process that is killed leaves the old files, or the new ones, or one
    ``main`` without ``others``; never a ``main`` beside others of another one. Commits in one folder wait for
    each other.

    Raises:
        OutputError: a file cannot be written.
    """
    with _uninterrupted(), contextlib.ExitStack() as stack:
        for staged in (main, *others):
            with _translated(staged.target):
                staged._finish()
        if others:
            with _translated(main.target):
                stack.enter_context(locked(main.target.parent))
        now = main
        try:
            for now in others:
                now._back_up(keep=False)
            now = main
            if others:
                with contextlib.suppress(OSError):  # a file system without hard links
                    now._back_up(keep=True)
            for now in (main, *others):
                now._replace()
        except BaseException as error:
            for staged in (main, *others):
                with contextlib.suppress(OSError):
                    staged._restore()
            if isinstance(error, OSError):
                raise _error(now.target, error) from error
            raise
        finally:
            for staged in (main, *others):
                staged._forget_backup()
        for recording in _recordings if result else ():
            recording.extend(staged.target for staged in (main, *others))


@contextlib.contextmanager
def recorded() -> Iterator[list[Path]]:
    """Yield a list of the results that are put in place until the block ends."""
    recording: list[Path] = []
    _recordings.append(recording)
    try:
        yield recording
    finally:
        _recordings.remove(recording)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread has locked ``folder``, and lock it until the block ends.

    Raises:
        OSError: there is no such folder, or it cannot be read.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def require_writable(path: FilePath) -> None:
    """Find out whether `write_bytes` can write ``path``, without changing it.

    Raises:
        OutputError: it cannot.
    """
    with _translated(path):
        if (descriptor := _open_stream(path)) is not None:
            os.fstat(descriptor)
            return
        if is_stream(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied")
            return
        target = _resolved(path)
        _require_no_read_only(target)
        if not _is_mount_point(target):
            with _uninterrupted():
                file, temporary = _create(target.parent, _prefix(target))
                file.close()
                os.unlink(temporary)


def is_stream(path: FilePath) -> bool:
    """Return whether ``path`` is a pipe, a device, a socket, or a stream that is open already."""
    if _open_stream(path) is not None:
        return True
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def _resolved(path: FilePath) -> Path:
    """Return the file that ``path`` is or points to, which need not exist.

    Raises:
        OSError: it is a folder, the folder is missing, a name is too long, or links make a loop.
    """
    if os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    target = Path(os.path.realpath(path))
    try:
        kind = os.lstat(target).st_mode
    except FileNotFoundError:
        os.stat(target.parent)
        return target
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if stat.S_ISLNK(kind):  # realpath gives up
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _require_no_read_only(target: Path) -> None:
    """Refuse a file that its owner made read-only, also for root, who may write everything."""
    if target.exists() and not (os.access(target, os.W_OK) and target.stat().st_mode & _WRITABLE):
        raise PermissionError(errno.EACCES, "it is read-only; make it writable, or choose another name")


def _open_stream(path: FilePath) -> int | None:
    """Return the open descriptor that ``path`` names, such as 1 for /dev/stdout."""
    named = _STREAMS.fullmatch(os.fspath(path))
    if named is None:
        return None
    return _STANDARD[named[1]] if named[1] else int(named[2])


def _prefix(target: Path) -> str:
    return f".{target.name[:40]}."


def _create(folder: Path, prefix: str) -> tuple[BinaryIO, Path]:
    """Return a new temporary file in ``folder``, open and locked."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=_SUFFIX, dir=folder)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return os.fdopen(descriptor, "wb"), Path(name)
        os.close(descriptor)  # another process took it for a leftover before it was locked


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove temporary files of processes that were killed: those that nobody has locked."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(prefix) and e.name.endswith(_SUFFIX)]
    for name in names:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(folder / name)
            finally:
                os.close(descriptor)


def _mode(target: Path) -> int:
    """Return the permissions of ``target`` without set-user-ID, or those that ``open`` would give it."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _is_mount_point(target: Path) -> bool:
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
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. A program's own handler stays in place."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    pending: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _translated(path: FilePath) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # a null byte
        raise OutputError(f"cannot write {os.fspath(path)!r}: {error}; choose another name") from error
    except OSError as error:
        raise _error(path, error) from error


def _error(path: FilePath, error: OSError) -> OutputError:
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

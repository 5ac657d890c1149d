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
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trt_int8.arguments import require_path
from trt_int8.files.places import (
    FilePath,
    error_of,
    file_to_write,
    is_mount_point,
    is_stream,
    open_stream,
    require_open_stream,
    translated,
)

_SUFFIX, _OLD = ".trt_int8.tmp", ".old.trt_int8.tmp"
#: Seconds to wait for another commit in the folder.
_PATIENCE = 10.0
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
        with translated(path):
            flags, descriptor = os.O_WRONLY | os.O_NOCTTY, open_stream(path)
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


def write_together(*files: tuple[FilePath, bytes]) -> None:
    """Write results that belong together by one `commit`, the main one first. Streams get theirs at once.

    Raises:
        OutputError: a file cannot be written; all are as before.
    """
    with contextlib.ExitStack() as stack:
        staged = []
        for path, data in files:
            if is_stream(path):
                write_bytes(path, data)
                continue
            staged.append(stack.enter_context(Staged(path)))
            staged[-1].write(data)
        if staged:
            commit(*staged)


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
        with translated(path):
            self.target = file_to_write(path, follow=follow)
            self._in_place = is_mount_point(self.target)
            folder = Path(tempfile.gettempdir()) if self._in_place else self.target.parent
            prefix = _prefix(self.target)
            _remove_leftovers(folder, prefix)
            self.committed = False
            self._backup: Path | None = None
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
        with translated(self.path if self._in_place else self.target):
            self.file.write(data)

    def keep_as(self, path: FilePath) -> None:
        """Rename what has been written so far, which may be incomplete, to ``path``, which is replaced.

        Raises:
            OSError: that is not possible.
        """
        with contextlib.suppress(OSError):  # a full disk: the rest is lost
            self._finish()
        if self._in_place:  # the temporary file is in another folder
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with self.path.open("rb") as kept, Path(path).open("xb") as file:
                shutil.copyfileobj(kept, file)
            os.unlink(self.path)
        else:
            os.replace(self.path, path)
        self.target, self.committed = Path(path), True

    def _finish(self) -> None:
        self.file.flush()
        os.fchmod(self.file.fileno(), _mode(self.target))
        os.fsync(self.file.fileno())

    def _move_aside(self) -> None:
        """Give the old file, or link, another name."""
        if not self._in_place and os.path.lexists(self.target):
            os.rename(self.target, self._aside())

    def _copy_aside(self) -> None:
        """Give the old file a second name."""
        if not self._in_place and self.target.exists():
            try:
                os.link(self.target, self._aside())
            except OSError:  # a file system without hard links
                shutil.copyfile(self.target, self._aside())

    def _aside(self) -> Path:
        """Return where the old file goes."""
        self._backup = self.path.with_name(f"{self.path.name[: -len(_SUFFIX)]}{_OLD}")
        return self._backup

    def _replace(self) -> None:
        if not self._in_place:
            try:
                os.replace(self.path, self.target)
                self.committed = True
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
        self._write_in_place()
        os.unlink(self.path)
        self.committed = True
        logging.getLogger("trt_int8").warning(
            "%s is a mount point, so it was written in place; other readers may have seen a part of it",
            self.target,
        )

    def _write_in_place(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as new, self.target.open("r+b") as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if size > before:  # while the old content is still there
                    os.posix_fallocate(file.fileno(), before, size - before)
            except OSError as error:
                file.truncate(before)
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
            try:
                shutil.copyfileobj(new, file)
                file.truncate()
                os.fsync(file.fileno())
            except OSError as error:
                reason = f"{error.strerror}; it is a mount point, so its old content is lost"
                raise OSError(error.errno, reason) from error

    def _restore(self) -> None:
        if self._backup is not None and os.path.lexists(self._backup):
            os.replace(self._backup, self.target)
        elif self.committed and not self._in_place:
            os.unlink(self.target)

    def _forget_backup(self) -> None:
        if self._backup is not None:
            with contextlib.suppress(OSError):  # gone if it was restored
                os.unlink(self._backup)


def commit(main: Staged, *others: Staged, result: bool = True) -> None:
    """Put ``main`` in place, and ``others`` that belong to it. After a failure all files are as before.

    Ctrl-C is delayed until it is done. A process that is killed leaves the old files, or the new ones, or one
    ``main`` without ``others``; never a ``main`` beside others of another one. Commits in one folder wait for
    each other.

    Raises:
        OutputError: a file cannot be written.
    """
    for staged in (main, *others):
        with translated(staged.target):
            staged._finish()
    folder = locked(main.target.parent) if others else contextlib.nullcontext()
    with translated(main.target), folder, _uninterrupted():
        now = main
        try:
            for now in others:
                now._move_aside()
            now = main
            if others:
                now._copy_aside()
            for now in (main, *others):
                now._replace()
        except BaseException as error:
            for staged in (main, *others):
                with contextlib.suppress(OSError):
                    staged._restore()
            if isinstance(error, OSError):
                raise error_of(now.target, error) from error
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


def require_writable(path: FilePath, *, follow: bool = True) -> None:
    """Find out whether `write_bytes` can write ``path``, or `Staged`, without changing it.

    Raises:
        OutputError: it cannot.
    """
    with translated(path):
        if (descriptor := open_stream(path)) is not None:
            require_open_stream(descriptor)
        elif is_stream(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied")
        elif not is_mount_point(target := file_to_write(path, follow=follow)):
            with _uninterrupted():
                file, temporary = _create(target.parent, _prefix(target))
                file.close()
                os.unlink(temporary)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` until the block ends. Wait until nobody else has locked it, but no longer than 10 s.

    Whoever can read the folder can lock it, so a lock that stays is passed over.

    Raises:
        OSError: there is no such folder.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(PermissionError):  # it cannot be read
            descriptor = stack.enter_context(_open(folder))
            end = time.monotonic() + _PATIENCE
            while not _try_lock(descriptor) and time.monotonic() < end:
                time.sleep(0.02)
        yield


def _try_lock(descriptor: int) -> bool:
    """Return False if somebody else has the lock; on a file system without locks, nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


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
    """Remove temporary files of processes that were killed. It may fail: they do no harm."""
    names = list[str]()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(prefix) and e.name.endswith(_SUFFIX)]
    for name in names:
        # A living process has locked its file, and the folder while there are old files.
        with contextlib.suppress(OSError), _open(folder if name.endswith(_OLD) else folder / name) as file:
            if _try_lock(file):
                os.unlink(folder / name)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield descriptor
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

"""Write files so that a reader finds the old content or the new one, never a part of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from trt_int8.arguments import require_path
from trt_int8.errors import OutputError

_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


def write_bytes(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Replace ``path`` by ``data`` in one step.

    The data is written to a temporary file in the same folder, flushed to the disk, and renamed by
    ``os.replace``. After any failure, Ctrl-C included, ``path`` is unchanged and no temporary file remains.
    A pipe, a device or /dev/stdout is not replaced but written to.

    Raises:
        OutputError: the folder is missing or not writable, the disk is full, …
        TypeError: ``path`` is not a path.
    """
    require_path(path, "path", of="the file to write")
    target = Path(path)
    try:
        if str(path) in _STANDARD:
            # Opening it by name would write from the beginning of the file that a shell redirects to.
            with os.fdopen(os.dup(_STANDARD[str(path)]), "wb") as stream:
                stream.write(data)
            return
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(data)
            return
        # Write through a link instead of replacing the link itself.
        _replace(target.resolve() if target.is_symlink() else target, data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_advice(target, error)}") from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` in UTF-8 by `write_bytes`; newlines are not changed."""
    write_bytes(path, text.encode("utf-8"))


def _replace(target: Path, data: bytes | bytearray | memoryview) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _mode(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(target: Path) -> int:
    """Return the permissions of ``target``, or those that ``open`` would give it."""
    try:
        return target.stat().st_mode & 0o7777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _advice(target: Path, error: OSError) -> str:
    if target.is_dir():
        return "it is a folder; give a file name"
    if not target.parent.is_dir():
        return f"the folder {target.parent} does not exist; create it first"
    return error.strerror or str(error)

"""Machine code on the disk: found by what it was made of, never run if damaged or of doubtful origin."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple


class Code(NamedTuple):
    """Object code, and the function in it."""

    symbol: str
    binary: bytes


def folders() -> tuple[Path, ...]:
    """``NUMBA_CACHE_DIR``, if set; else where Python may keep what it compiles, and the user's cache."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return (Path(chosen),)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = [Path(cache) / "trt_int8"]
    if not sys.dont_write_bytecode:
        found.insert(0, Path(cache_from_source(__file__)).parent)
    return tuple(folder for folder in found if folder.is_absolute())  # there may be no home


def file_name(name: str, *parts: bytes) -> str:
    """The name of the file of the code ``name`` that is made of ``parts``."""
    return f"{name}-{hashlib.sha256(b'/'.join(parts)).hexdigest()[:32]}.o"


def read(name: str) -> Iterator[Code]:
    """The code in files of that name, whole ones that nobody else may have written."""
    for folder in folders():
        code = _read(folder / name)
        if code is not None:
            yield code


def write(name: str, code: Code) -> None:
    """Store ``code`` in the first folder from which it can be read again; or not at all."""
    body = code.symbol.encode() + b"\n" + code.binary
    content = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    for folder in folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(folder / name, content)
        if _read(folder / name) is not None:
            return


def _replace(path: Path, content: bytes) -> None:
    # Not `atomic`: that asks for the umask by setting it, which no thread but the main one should do.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:20]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _read(path: Path) -> Code | None:
    """None if there is none, others may have written it, or it is damaged: LLVM would end the process."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # Windows has neither owners nor modes to ask for here.
            if hasattr(os, "getuid") and (
                status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                return None
            digest, symbol, binary = file.read().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    if digest.decode("ascii", "replace") != hashlib.sha256(symbol + b"\n" + binary).hexdigest():
        return None
    return Code(symbol.decode(), binary)

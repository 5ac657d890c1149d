"""A log on disk (plain, gzip or UTF-16) → lists of lines, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from trt_int8.arguments import require_path
from trt_int8.errors import ReportError
from trt_int8.files.inputs import open_input
from trt_int8.ranges.cache import is_header

_BLOCK = 1 << 20
#: Longer lines are cut. TensorRT's longest lines are layers with some hundred tensors.
_LONGEST = 8 << 20


class Peekable(Protocol):
    """An open file."""

    def peek(self, size: int, /) -> bytes: ...
    def read(self, size: int = -1, /) -> bytes: ...


def read_lines(path: str | os.PathLike[str], file: Peekable | None = None) -> Iterator[list[bytes]]:
    """Yield lists of lines without their newlines, about 1 MiB each; of ``file``, if it is open already.

    Raises:
        ReportError: the file cannot be read, or its gzip data is broken.
        TypeError: ``path`` is not a path.
    """
    require_path(path, "path", of="a build log")
    try:
        with open_input(path) if file is None else nullcontext(file) as log:
            yield from split_lines(_decoded(log, log.peek(4)[:4]))
    except (OSError, EOFError, zlib.error) as error:
        detail = getattr(error, "strerror", None) or error
        raise ReportError(f"cannot read the log {path}: {detail}") from error


def split_lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of blocks of bytes as lists. An unfinished last line counts as a line."""
    rest: list[bytes] = []
    size = 0
    for block in blocks:
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        lines = block.split(b"\n")
        if len(lines) == 1:
            if size < _LONGEST:
                rest.append(block)
                size += len(block)
            continue
        rest.append(lines[0])
        lines[0] = b"".join(rest)
        if lines[0].endswith(b"\r"):
            lines[0] = lines[0][:-1]
        last = lines.pop()
        rest, size = [last], len(last)
        yield lines
    last = b"".join(rest)
    if last:
        yield [last.removesuffix(b"\r")]


def _decoded(file: Peekable, start: bytes) -> Iterator[bytes]:
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(cast("BinaryIO", file)) as plain:
            yield from iter(partial(plain.read, _BLOCK), b"")
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # "trtexec … > build.log" in Windows PowerShell writes UTF-16.
        decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        for block in iter(partial(file.read, _BLOCK), b""):
            yield decoder.decode(block).encode()
    else:
        yield from iter(partial(file.read, _BLOCK), b"")


_WANTED = (
    "give the verbose log of a build (trtexec --verbose, trt.Logger.VERBOSE, trt-int8 build), or layer "
    "information in JSON (trtexec --exportLayerInfo)"
)


def no_log(path: str | os.PathLike[str]) -> str:
    """Return the message for a file without a line of TensorRT: its probable content, and what to give."""
    start = b"" if os.fspath(path) == os.devnull else None  # a pipe cannot be read again
    if os.path.isfile(path):
        with Path(path).open("rb") as file:
            start = file.read(256)
    if start is not None and not start.strip():
        return f"{path} is empty; {_WANTED}"
    return f"{path} is not a build log: {_guess(path, start or b'')}{_WANTED}"


def _guess(path: str | os.PathLike[str], start: bytes) -> str:
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return "by its name it is an ONNX model, which goes to trt-int8 report --model, next to a log; "
    if is_header(start.split(b"\n")[0].strip().decode("utf-8", "replace")):
        return "it is a calibration cache, which goes to trt-int8 report --cache, next to a log; "
    if start.startswith((b"ftrt", b"ptrt")) or suffix in (".engine", ".plan", ".trt"):
        return "it is an engine; "
    if start.lstrip().startswith(b"[") and suffix == ".json":
        return "it is a list in JSON; a profile goes to trt-int8 report --profile, next to a log; "
    return "it has no line of TensorRT; "

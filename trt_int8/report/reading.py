"""A log on disk → lists of lines, in bounded memory: plain, gzip or UTF-16."""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from trt_int8.errors import ReportError
from trt_int8.paths import require_path

_BLOCK = 1 << 20
#: A line longer than this is cut: TensorRT's longest lines are layers with some hundred tensors.
_LONGEST = 8 << 20


def read_lines(path: str | os.PathLike[str]) -> Iterator[list[bytes]]:
    """Lists of lines without their newlines, about 1 MiB each.

    Raises:
        ReportError: the file cannot be read, or is not the gzip it claims to be.
        TypeError: ``path`` is no path.
    """
    require_path(path, "path", of="a build log")
    try:
        with open(path, "rb") as file:
            yield from split_lines(_decoded(file, file.peek(4)[:4]))
    except (OSError, EOFError, zlib.error) as error:
        detail = getattr(error, "strerror", None) or error
        raise ReportError(f"cannot read the log {path}: {detail}") from error


def split_lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Blocks of bytes → lists of the lines in them; an unfinished last line counts as a line."""
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


def _decoded(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(file) as plain:
            yield from _blocks(plain)
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # What "trtexec … > build.log" writes under Windows PowerShell.
        decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        for block in _blocks(file):
            yield decoder.decode(block).encode()
    else:
        yield from _blocks(file)


def _blocks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block

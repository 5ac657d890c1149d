"""Read arrays from ``.npy`` and ``.npz`` files. Headers are not trusted, and nothing is unpickled.

The size that a header promises is compared with that of the file, or, if the data is compressed, with the
free memory, before any is taken.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from trt_int8.files.inputs import free_memory, size_text

Array = npt.NDArray[np.generic]
NPY, ZIP = b"\x93NUMPY", b"PK"
#: Errors for files that are damaged, encrypted, of an unknown kind, or too large; the text says which.
DAMAGE = (ValueError, EOFError, OverflowError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
#: Fixed part of a zip local file header; lengths of name and extra field are its last two numbers.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
#: The longest header of an array in bytes; numpy itself takes 10,000.
_HEADER_LIMIT = 1 << 16
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


class ObjectsError(ValueError):
    """An array holds Python objects."""


class TooLargeError(ValueError):
    """An array does not fit into memory; the text says what to do."""


def read_npy(stream: BinaryIO, *, mapped: Path | None = None) -> Array:
    """Return the array of an ``.npy`` file: memory-mapped from the file ``mapped``, else from memory.

    Raises:
        one of `DAMAGE`.
    """
    size = stream.seek(0, os.SEEK_END)
    if mapped is not None:
        return _mapped(stream, mapped, start=0, size=size)
    stream.seek(0)
    shape, _, dtype = _header(stream)
    _check_size(_size(shape, dtype), size - stream.tell())
    stream.seek(0)
    return _read(stream)


def read_members(
    archive: zipfile.ZipFile, names: Iterable[str], *, mapped: Path | None = None
) -> dict[str, Array]:
    """Return the arrays ``names`` of an ``.npz``: uncompressed ones memory-mapped, others in memory.

    Args:
        archive: the open ``.npz``.
        names: the names, without ``.npy``.
        mapped: the file of ``archive``. None: it is in memory, so no member is mapped.

    Raises:
        KeyError: there is no such array.
        one of `DAMAGE`.
    """
    members = member_names(archive)
    return {name: _member(archive, members[name], mapped) for name in names}


def member_names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an ``.npz`` by name."""
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, mapped: Path | None) -> Array:
    with archive.open(info) as stream:
        if info.compress_type == zipfile.ZIP_STORED and mapped is not None:
            with mapped.open("rb") as whole:
                return _mapped(whole, mapped, start=_data_offset(whole, info), size=info.file_size)
        shape, _, dtype = _header(stream)
        size = _size(shape, dtype)
        _check_size(size, info.file_size - stream.tell())
        stream.seek(0)
        free = free_memory()
        try:
            if size > free:
                raise MemoryError
            return _read(stream)
        except MemoryError as error:
            raise TooLargeError(
                f"{info.filename} has {size_text(size)} when it is unpacked, and {size_text(free)} of memory "
                "are free; save it with numpy.savez, which is memory-mapped, or in smaller files"
            ) from error


def _read(stream: IO[bytes]) -> Array:
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # decompressors raise types of their own
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _mapped(stream: BinaryIO, file: Path, *, start: int, size: int) -> Array:
    """Map the array whose header begins at ``start``; header and values have ``size`` bytes."""
    stream.seek(start)
    shape, order, dtype = _header(stream)
    offset = stream.tell()
    expected = _size(shape, dtype)
    _check_size(expected, min(start + size, os.fstat(stream.fileno()).st_size) - offset)
    if expected == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype=dtype, mode="r", shape=shape, order=order, offset=offset)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[np.generic]]:
    """Return shape, order ("C" or "F") and dtype from the header of an array."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"format {version[0]}.{version[1]} of .npy is not known")
    start = stream.tell()
    length = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if length > _HEADER_LIMIT:  # numpy reads it before it looks at the length
        raise ValueError(f"header of an array has {length} bytes, more than {_HEADER_LIMIT}")
    stream.seek(start)
    try:
        shape, fortran, dtype = _HEADERS[version](stream)
    except Exception as error:  # numpy reads it as Python, which raises a dozen types
        raise ValueError(f"header of an array: {' '.join(str(error).split())[:200]}") from error
    if dtype.hasobject:
        raise ObjectsError(f"holds Python objects (dtype {dtype}), which are never unpickled")
    if min(shape, default=0) < 0 or dtype.itemsize == 0:
        raise ValueError(f"header of an array: shape {list(shape)}, dtype {dtype}")
    return shape, "F" if fortran else "C", dtype


def _size(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape) * dtype.itemsize


def _check_size(promised: int, found: int) -> None:
    if promised != found:
        raise ValueError(f"its header promises {promised} bytes, and there are {max(found, 0)}")


def _data_offset(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return where an uncompressed member's bytes start (zip local header: APPNOTE.TXT section 4.3.7)."""
    stream.seek(info.header_offset)
    fields = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    name_length, extra_length = fields[-2:]
    return info.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)

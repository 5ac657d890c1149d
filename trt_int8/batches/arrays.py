"""Open ``.npy`` and ``.npz`` files as samples, memory-mapped where the format allows, never unpickling."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trt_int8.batches.samples import ArraySamples
from trt_int8.errors import DataError

#: Errors of numpy and zipfile for damaged, encrypted and unknown files.
_NUMPY_DAMAGE = (ValueError, EOFError, OverflowError, SyntaxError)
_ZIP_DAMAGE = (RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
#: Fixed part of a zip local file header; lengths of name and extra field are its last two numbers.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def open_arrays(path: str | os.PathLike[str], *, inputs: Iterable[str]) -> ArraySamples:
    """Open a ``.npy`` file (for models with one input) or an ``.npz`` file (with one key per input).

    The first axis counts the samples. A ``.npy`` and the uncompressed members of a ``.npz``
    (``np.savez``) are memory-mapped; compressed members (``np.savez_compressed``) are read into RAM.
    Keys of a ``.npz`` that are not in ``inputs``, such as labels, are ignored.

    Raises:
        DataError: the file is missing, damaged, of another format or of object dtype, or lacks a key.
    """
    file, names = Path(path), list(inputs)
    if file.is_dir():
        raise DataError(f"{file} is a folder; give an .npy or .npz file")
    try:
        with file.open("rb") as stream:
            magic = stream.read(6)
        if magic.startswith(b"\x93NUMPY"):
            if len(names) != 1:
                raise DataError(
                    f"{file}: an .npy file holds one array and the model has {len(names)} inputs "
                    f"({', '.join(names)}); save an .npz with one key per input"
                )
            return ArraySamples({names[0]: np.load(file, mmap_mode="r", allow_pickle=False)}, str(file))
        if magic.startswith(b"PK"):
            return ArraySamples(_members(file, names), str(file))
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file; check the path of the data") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (*_NUMPY_DAMAGE, *_ZIP_DAMAGE) as error:
        raise DataError(f"{file}: {_explain(error)}") from error
    raise DataError(
        f"{file}: neither an .npy nor an .npz file; save the samples with numpy.save or numpy.savez"
    )


def read_labels(labels: str, data: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read one integer label per sample, from the ``.npy`` file ``labels`` or that key of the ``.npz`` data.

    Raises:
        DataError: see `open_arrays`; or the labels are not integers.
    """
    source: str | os.PathLike[str] = labels if labels.endswith(".npy") or _is_pipe(labels) else data
    if source == data and _is_pipe(data):
        raise DataError(
            f"labels {labels!r}: {data} is a pipe, which can be read once, for the samples; save the labels "
            "in an .npy file"
        )
    if source == data and not str(data).endswith(".npz"):
        raise DataError(
            f"labels {labels!r}: give an .npy file, or a key of the data if that is an .npz (it is {data})"
        )
    array = np.asarray(open_arrays(source, inputs=[labels]).arrays[labels])
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{source}: labels {labels!r} are {array.dtype}; give the class of each sample as an integer"
        )
    return array


def _is_pipe(path: str | os.PathLike[str]) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _members(file: Path, names: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        missing = [name for name in names if name not in members]
        if missing:
            raise DataError(
                f"{file}: has no key {missing[0]!r} (keys: {', '.join(sorted(members)) or 'none'}); save it "
                f"with numpy.savez(file, **{{{missing[0]!r}: …}})"
            )
        return {name: _member(file, archive, members[name], name) for name in names}


def _member(
    file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str
) -> npt.NDArray[np.generic]:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(stream)
        header = stream.tell()
        if dtype.hasobject:
            raise DataError(
                f"{file}: {name!r} holds Python objects (dtype {dtype}), which are never unpickled; "
                "save it as a plain numeric array"
            )
        if info.compress_type != zipfile.ZIP_STORED or 0 in shape:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    return np.memmap(
        file,
        dtype=dtype,
        mode="r",
        shape=shape,
        order="F" if fortran else "C",
        offset=_data_offset(file, info) + header,
    )


def _data_offset(file: Path, info: zipfile.ZipInfo) -> int:
    """Return where an uncompressed member's bytes start (zip local header: APPNOTE.TXT section 4.3.7)."""
    with file.open("rb") as stream:
        stream.seek(info.header_offset)
        fields = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    name_length, extra_length = fields[-2:]
    return info.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _explain(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "pickle" in text.lower() or "object" in text.lower():
        return "holds Python objects, which are never unpickled; save a plain numeric array"
    return f"damaged or cut short ({text}); save it again"

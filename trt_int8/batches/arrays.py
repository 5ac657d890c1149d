"""Open ``.npy`` and ``.npz`` files as samples, memory-mapped where the format allows, never unpickling."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from trt_int8.batches.samples import ArraySamples
from trt_int8.errors import DataError
from trt_int8.files import npz
from trt_int8.files.inputs import open_input, read_input
from trt_int8.files.places import is_special


def open_arrays(path: str | os.PathLike[str], *, inputs: Iterable[str]) -> ArraySamples:
    """Open a ``.npy`` file (for models with one input) or an ``.npz`` file (with one key per input).

    The first axis counts the samples. A ``.npy`` and the uncompressed members of a ``.npz``
    (``np.savez``) are memory-mapped; compressed members (``np.savez_compressed``) are read into RAM.
    Keys of a ``.npz`` that are not in ``inputs``, such as labels, are ignored.

    Raises:
        DataError: the file is missing, damaged, of another format or of object dtype, or lacks a key.
    """
    file, names = Path(path), list(inputs)
    if os.path.isdir(file):
        raise DataError(f"{file} is a folder; give an .npy or .npz file")
    try:
        mapped = file if os.path.isfile(file) else None  # a pipe is read into memory
        stream = io.BytesIO(read_input(file)) if mapped is None else open_input(file)
        with stream:
            magic = stream.read(6)
            if magic.startswith(npz.NPY) and len(names) == 1:
                return ArraySamples({names[0]: npz.read_npy(stream, mapped=mapped)}, str(file))
            if magic.startswith(npz.ZIP):
                return ArraySamples(_members(stream, names, file, mapped), str(file))
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file; check the path of the data") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except npz.ObjectsError as error:
        raise DataError(f"{file}: {error}; save it as a plain numeric array") from error
    except npz.TooLargeError as error:
        raise DataError(f"{file}: {error}") from error
    except npz.DAMAGE as error:
        text = str(error) or type(error).__name__
        raise DataError(f"{file}: damaged or cut short ({text}); save it again") from error
    if magic.startswith(npz.NPY):
        raise DataError(
            f"{file}: an .npy file holds one array and the model has {len(names)} inputs "
            f"({', '.join(names)}); save an .npz with one key per input"
        )
    raise DataError(
        f"{file}: neither an .npy nor an .npz file; save the samples with numpy.save or numpy.savez"
    )


def read_labels(labels: str, data: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read one integer label per sample, from the ``.npy`` file ``labels`` or that key of the ``.npz`` data.

    Raises:
        DataError: see `open_arrays`; or the labels are not integers.
    """
    source: str | os.PathLike[str] = labels if labels.endswith(".npy") or is_special(labels) else data
    if source == data and is_special(data):
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


def _members(
    stream: BinaryIO, names: list[str], file: Path, mapped: Path | None
) -> dict[str, npt.NDArray[np.generic]]:
    with zipfile.ZipFile(stream) as archive:
        members = npz.member_names(archive)
        missing = [name for name in names if name not in members]
        if missing:
            raise DataError(
                f"{file}: has no key {missing[0]!r} (keys: {', '.join(sorted(members)) or 'none'}); save it "
                f"with numpy.savez(file, **{{{missing[0]!r}: …}})"
            )
        found: dict[str, npt.NDArray[np.generic]] = {}
        for name in names:
            try:
                found |= npz.read_members(archive, [name], mapped=mapped)
            except npz.ObjectsError as error:
                raise npz.ObjectsError(f"{name!r} {error}") from error
        return found

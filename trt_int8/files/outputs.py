"""Check before the work that its results can be written, and that they overwrite none of its inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trt_int8.errors import OutputError
from trt_int8.files.atomic import FilePath, require_writable


def check_outputs(outputs: Mapping[str, FilePath], *, inputs: Mapping[str, FilePath] | None = None) -> None:
    """Check that results can be written, have different files, and do not overwrite an input.

    Args:
        outputs: content of a file (``"engine"``) → its path.
        inputs: likewise, files that are read, or folders whose files are read.

    Raises:
        OutputError: with both files or the folder, and what to do.
    """
    taken = {_identity(path): what for what, path in (inputs or {}).items()}
    folders = {os.path.realpath(p): what for what, p in (inputs or {}).items() if os.path.isdir(p)}
    for what, path in outputs.items():
        identity = _identity(path)
        for folder, read in folders.items():
            if os.path.isfile(path) and Path(os.path.realpath(path)).is_relative_to(folder):
                raise OutputError(
                    f"the {what} would overwrite {path}, which may be one of the {read} {folder}; choose "
                    "another name for it"
                )
        if identity in taken:
            raise OutputError(
                f"the {what} would overwrite the {taken[identity]} {path}; choose another name for it"
            )
        taken[identity] = what
        require_writable(path)


def _identity(path: FilePath) -> object:
    """Return a value that is equal for all names of one file, links included."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino

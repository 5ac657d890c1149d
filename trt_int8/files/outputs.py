"""Check before the work that its results can be written, and that they overwrite none of its inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trt_int8.errors import OutputError
from trt_int8.files.atomic import require_writable
from trt_int8.files.places import FilePath


def check_outputs(outputs: Mapping[str, FilePath], *, inputs: Mapping[str, FilePath] | None = None) -> None:
    """Check that results can be written, have different files, and do not overwrite an input.

    Args:
        outputs: content of a file (``"engine"``) → its path.
        inputs: likewise, files that are read.

    Raises:
        OutputError: with both files or the folder, and what to do.
    """
    taken = {_identity(path): what for what, path in (inputs or {}).items()}
    for what, path in outputs.items():
        identity = _identity(path)
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

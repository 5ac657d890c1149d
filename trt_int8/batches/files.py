"""Which image files a path, a folder or a pattern means."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from trt_int8.errors import DataError

#: What is taken for an image in a folder; a pattern or a file name may mean any file.
SUFFIXES = frozenset(
    [".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)


def means_images(source: str) -> bool:
    """Whether ``source`` is a folder, a pattern, or a file with an image's suffix."""
    return os.path.isdir(source) or _is_pattern(source) or Path(source).suffix.lower() in SUFFIXES


def find_images(source: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Image files in name order: all in a folder and below it, or those a pattern matches (``**`` too).

    Links that lead nowhere are among them.

    Raises:
        DataError: there is no such file, or no image among them.
    """
    text = os.fspath(source)
    if os.path.isdir(text):
        files = sorted(path for path in Path(text).rglob("*") if _is_file(path) and path.name[0] != ".")
        images = tuple(path for path in files if path.suffix.lower() in SUFFIXES)
        if not images:
            seen = f"only {len(files)} other files, such as {files[0].name}" if files else "it is empty"
            raise DataError(
                f"{text}: no image in this folder ({seen}); images end in {', '.join(sorted(SUFFIXES))}"
            )
        return images
    if os.path.exists(text) or _is_broken_link(text):
        return (Path(text),)
    if not _is_pattern(text):
        raise DataError(f"{text}: no such file; check the path of the data")
    matched = tuple(path for path in map(Path, sorted(glob.glob(text, recursive=True))) if _is_file(path))
    if not matched:
        raise DataError(f"{text}: no file matches this pattern; quote it ('…'), and check the folder")
    return matched


def _is_file(path: Path) -> bool:
    """A broken link counts: whoever reads it finds out, instead of missing a sample without a word."""
    return path.is_file() or _is_broken_link(path)


def _is_broken_link(path: str | Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _is_pattern(source: str) -> bool:
    return not os.path.exists(source) and glob.has_magic(source)

"""Image files as samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trt_int8.batches.decode import decode_image
from trt_int8.batches.files import find_images
from trt_int8.batches.preprocess import Preprocessing
from trt_int8.errors import DataError

#: Pillow releases the interpreter lock while it decodes and resizes.
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """Images, decoded and preprocessed when they are fetched, several at a time.

    Attributes:
        name: the input they feed.
        paths: the files, a sample each.
        preprocessing: makes an array of an image.
        orientation: turn images upright as their EXIF tag says.
        skip_bad: leave out files that cannot be read, which makes a fetch shorter.
        skipped: files left out so far, with the reason.
        place: what to call them in messages.
    """

    name: str
    paths: Sequence[Path]
    preprocessing: Preprocessing
    orientation: bool = True
    skip_bad: bool = False
    skipped: dict[Path, str] = field(default_factory=dict)
    place: str = "the images"
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="decode"), repr=False
    )

    def __len__(self) -> int:
        return len(self.paths)

    def fetch(self, indices: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
        """The samples at ``indices`` in that order, without those skipped.

        Raises:
            DataError: an image cannot be read, and ``skip_bad`` is off.
        """
        decoded = self._pool.map(self._load, [self.paths[i] for i in indices])
        arrays = [array for array in decoded if array is not None]
        return {self.name: np.stack(arrays) if arrays else np.empty((0,), self.preprocessing.dtype)}

    def _load(self, path: Path) -> npt.NDArray[np.generic] | None:
        try:
            return self._preprocessed(path)
        except DataError as error:
            if not self.skip_bad:
                raise
            self.skipped[path] = str(error)
            return None

    def _preprocessed(self, path: Path) -> npt.NDArray[np.generic]:
        image = decode_image(path, orientation=self.orientation)
        try:
            return self.preprocessing(image)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def open_images(
    source: str | os.PathLike[str],
    *,
    name: str,
    preprocessing: Preprocessing,
    orientation: bool = True,
    skip_bad: bool = False,
) -> ImageSamples:
    """Samples from a folder (and the folders in it), a pattern like ``photos/*.jpg``, or one image.

    Args:
        source: folder, pattern or file.
        name: the model's input.
        preprocessing: see `preprocessing_for`, which fills it in from the model and a preset.
        orientation: turn images upright as their EXIF tag says.
        skip_bad: leave out files that cannot be read instead of raising.

    Raises:
        DataError: no image there.
        MissingDependencyError: Pillow is not installed.
    """
    paths = find_images(source)
    return ImageSamples(
        name, paths, preprocessing, orientation=orientation, skip_bad=skip_bad, place=os.fspath(source)
    )

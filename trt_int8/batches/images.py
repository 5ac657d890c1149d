"""Find image files, decode them to 8-bit RGB, and prepare them for the network."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trt_int8.batches.preprocess import Preprocessing
from trt_int8.batches.samples import Batch
from trt_int8.dependencies import require
from trt_int8.errors import DataError
from trt_int8.files.inputs import read_input

if TYPE_CHECKING:
    from PIL import Image

#: Suffixes of image files in a folder; a pattern or a file name may mean any file.
SUFFIXES = frozenset(
    [".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
#: The formats that are decoded, whatever a file is called. Pillow knows more of them, but some start other
#: programs: it gives EPS to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def means_images(source: str) -> bool:
    """Return whether ``source`` is a folder, a pattern, or a file with an image's suffix."""
    return os.path.isdir(source) or _is_pattern(source) or Path(source).suffix.lower() in SUFFIXES


def find_images(source: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return image files in name order: all in a folder and below, or those a pattern (``**`` too) matches.

    Broken links are included: reading one is an error, so that no sample is missed silently.

    Raises:
        DataError: there is no such file, or no image.
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
    return path.is_file() or _is_broken_link(path)


def _is_broken_link(path: str | Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _is_pattern(source: str) -> bool:
    return not os.path.exists(source) and glob.has_magic(source)


def decode_image(path: str | os.PathLike[str], *, orientation: bool = True) -> Image.Image:
    """Decode the image at ``path`` to RGB with 8 bits per channel.

    Grey images become RGB with three equal channels, transparency is dropped (as torchvision and OpenCV
    do), 16-bit grey is scaled to 8 bits by 1/257, and the first frame of an animation is used.
    ``orientation`` turns the image upright as its EXIF tag says (as OpenCV does; torchvision does not).

    Raises:
        DataError: the file is missing, truncated, too large or in none of `FORMATS`, or has 32-bit pixels.
    """
    pillow: Any = require("PIL.Image", purpose="reading images")
    operations: Any = require("PIL.ImageOps", purpose="reading images")
    try:
        data = read_input(path)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise DataError(
                f"{os.fspath(path)}: a link to {os.readlink(path)}, which does not exist; fix or remove the "
                "link, or skip such files with skip_bad=True"
            ) from error
        raise DataError(f"{os.fspath(path)}: no such file; check the path of the data") from error
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from error
    try:
        with pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
            opened.load()
            image = operations.exif_transpose(opened) if orientation else opened
            rgb: Image.Image = _rgb(image, opened.format, pillow)
            return rgb
    except pillow.UnidentifiedImageError as error:
        raise DataError(
            f"{os.fspath(path)}: not an image in a format that is read ({', '.join(FORMATS)}); convert or "
            "remove it, or skip such files with skip_bad=True"
        ) from error
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise DataError(
            f"{os.fspath(path)}: the image is too large to be decoded ({error}); make it smaller, remove it, "
            "or skip such files with skip_bad=True"
        ) from error
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error
    except Exception as error:  # damaged files raise all kinds: OSError, SyntaxError, struct.error, …
        raise DataError(
            f"{os.fspath(path)}: damaged image ({error or type(error).__name__}); copy it again, remove it, "
            "or skip such files with skip_bad=True"
        ) from error


def _rgb(image: Any, form: str | None, pillow: Any) -> Any:
    if image.mode.startswith("I;16") or (image.mode == "I" and form == "PNG"):
        wide = np.asarray(image).astype(np.uint32)
        return pillow.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise DataError(f"pixels are 32-bit {kind} of unknown value range; save the samples as .npz")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if a palette goes to RGB directly
    return image.convert("RGB")


#: Pillow releases the interpreter lock while it decodes and resizes.
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """Images, decoded and preprocessed when they are fetched, several at a time.

    Attributes:
        name: the input that gets them.
        orientation: see `decode_image`.
        skip_bad: skip files that cannot be read, which makes a fetch shorter.
        skipped: the files skipped so far, with the reason.
        place: their name in messages.
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

    def fetch(self, indices: npt.NDArray[np.int64]) -> Batch:
        """Return the samples at ``indices`` in that order, without those skipped."""
        decoded = self._pool.map(self._load, [self.paths[i] for i in indices])
        arrays = [array for array in decoded if array is not None]
        return {self.name: np.stack(arrays) if arrays else np.empty((0,), self.preprocessing.dtype)}

    def _load(self, path: Path) -> npt.NDArray[np.generic] | None:
        try:
            image = decode_image(path, orientation=self.orientation)
            try:
                return self.preprocessing(image)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        except DataError as error:
            if not self.skip_bad:
                raise
            self.skipped[path] = str(error)
            return None


def open_images(
    source: str | os.PathLike[str],
    *,
    name: str,
    preprocessing: Preprocessing,
    orientation: bool = True,
    skip_bad: bool = False,
) -> ImageSamples:
    """Open a folder (with the folders in it), a pattern like ``photos/*.jpg``, or one image as samples.

    Args:
        source: folder, pattern or file.
        name: the model's input.
        preprocessing: see `preprocessing_for`, which takes it from the model and a preset.
        orientation: see `ImageSamples`.
        skip_bad: see `ImageSamples`.

    Raises:
        DataError: there is no image.
    """
    return ImageSamples(
        name, find_images(source), preprocessing, orientation, skip_bad, place=os.fspath(source)
    )

"""Read one image file into 8-bit RGB, as the usual training pipelines see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from trt_int8.dependencies import require
from trt_int8.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


def decode_image(path: str | os.PathLike[str], *, orientation: bool = True) -> Image.Image:
    """The image at ``path`` as RGB, 8 bits a channel.

    Grey images become RGB of three equal channels, transparency is dropped (as torchvision and OpenCV
    do), 16-bit grey is scaled to 8 bits by 1/257, of an animation the first frame is taken.

    Args:
        path: the file.
        orientation: turn the image upright as its EXIF tag says (as OpenCV does; torchvision does not).

    Raises:
        DataError: the file is missing, cut short, no image, or one of floats or 32-bit integers.
    """
    pillow: Any = require("PIL.Image", purpose="reading images")
    operations: Any = require("PIL.ImageOps", purpose="reading images")
    try:
        with pillow.open(path) as opened:
            opened.load()
            image = operations.exif_transpose(opened) if orientation else opened
            rgb: Image.Image = _rgb(image, opened.format, pillow)
            return rgb
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise DataError(
                f"{os.fspath(path)}: a link to {os.readlink(path)}, which does not exist; mend or remove the "
                "link, or leave such files out with skip_bad=True"
            ) from error
        raise DataError(f"{os.fspath(path)}: no such file; check the path of the data") from error
    except pillow.UnidentifiedImageError as error:
        raise DataError(
            f"{os.fspath(path)}: not an image that Pillow can read; remove it, or leave such files out "
            "with skip_bad=True"
        ) from error
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error
    except Exception as error:  # damaged files raise all kinds: OSError, SyntaxError, struct.error, …
        raise DataError(
            f"{os.fspath(path)}: damaged image ({error or type(error).__name__}); copy it again, remove it, "
            "or leave such files out with skip_bad=True"
        ) from error


def _rgb(image: Any, form: str | None, pillow: Any) -> Any:
    if image.mode.startswith("I;16") or (image.mode == "I" and form == "PNG"):
        wide = np.asarray(image).astype(np.uint32)
        return pillow.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(
            f"pixels are 32-bit {'integers' if image.mode == 'I' else 'floats'}, whose scale is unknown; "
            "save the samples as .npz"
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if a palette goes to RGB directly
    return image.convert("RGB")

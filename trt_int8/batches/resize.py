"""Bring an image to the size a network takes, the way it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trt_int8.choices import Resize
from trt_int8.dependencies import require
from trt_int8.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


def resized(
    image: Image.Image, height: int, width: int, how: Resize, *, crop_ratio: float = 0.875, pad: int = 114
) -> Image.Image:
    """``image`` at ``height`` × ``width`` pixels, interpolated bilinearly with Pillow's antialiasing.

    Args:
        image: RGB.
        height, width: the size wanted.
        how: ``stretch`` changes the aspect ratio; ``letterbox`` fits the image inside and pads it with
            ``pad`` (an odd margin has its extra line below or to the right, as Ultralytics does it);
            ``crop`` covers size / ``crop_ratio`` and cuts out the centre (torchvision's
            ``Resize(256)``, ``CenterCrop(224)``); ``none`` takes only images of that size.

    Raises:
        DataError: the image has another size and ``how`` is ``none``.
    """
    if how == "none" and image.size != (width, height):
        raise DataError(
            f"image is {image.height}x{image.width} and the model takes {height}x{width} with "
            "resize='none'; choose stretch, letterbox or crop as in training"
        )
    if how == "crop":
        return _cropped(image, height, width, crop_ratio)
    if how == "letterbox":
        return _letterboxed(image, height, width, pad)
    return _interpolated(image, width, height)


def _cropped(image: Image.Image, height: int, width: int, ratio: float) -> Image.Image:
    box_height, box_width = round(height / ratio), round(width / ratio)
    if image.width * box_height <= image.height * box_width:
        covering = (box_width, max(box_height, box_width * image.height // image.width))
    else:
        covering = (max(box_width, box_height * image.width // image.height), box_height)
    image = _interpolated(image, *covering)
    left, top = round((covering[0] - width) / 2), round((covering[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _letterboxed(image: Image.Image, height: int, width: int, pad: int) -> Image.Image:
    factor = min(height / image.height, width / image.width)
    inner = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    canvas: Image.Image = require("PIL.Image", purpose="reading images").new(
        "RGB", (width, height), (pad, pad, pad)
    )
    canvas.paste(_interpolated(image, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _interpolated(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    pillow = require("PIL.Image", purpose="reading images")
    return image.resize((width, height), pillow.Resampling.BILINEAR)

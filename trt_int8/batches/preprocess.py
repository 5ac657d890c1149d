"""Turn an image into a network's input: resize, channel order, scale, mean and std, layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trt_int8.choices import Color, Layout, Resize
from trt_int8.dependencies import require
from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec

if TYPE_CHECKING:
    from PIL import Image


def resized(
    image: Image.Image, height: int, width: int, how: Resize, *, crop_ratio: float = 0.875, pad: int = 114
) -> Image.Image:
    """Resize ``image`` to ``height`` × ``width`` pixels, bilinearly with Pillow's antialiasing.

    Args:
        image: RGB.
        height, width: pixels.
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
    pillow = require("PIL.Image", purpose="reading images")
    canvas: Image.Image = pillow.new("RGB", (width, height), (pad, pad, pad))
    canvas.paste(_interpolated(image, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _interpolated(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    pillow = require("PIL.Image", purpose="reading images")
    return image.resize((width, height), pillow.Resampling.BILINEAR)


#: Named ways of preparing images, each as its training pipeline does.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # torchvision's classification reference: Resize(256), CenterCrop(224), ToTensor, Normalize
    "imagenet": {
        "resize": "crop",
        "color": "rgb",
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    # Ultralytics' LetterBox, then pixels / 255
    "yolo": {"resize": "letterbox", "color": "rgb", "scale": 1 / 255},
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes an array: value = (pixel · scale − mean) / std, per channel.

    Attributes:
        height, width: size of the network's input, in pixels.
        resize, crop_ratio, pad: see `resized`.
        color: order of the channels. Grey is 0.299 R + 0.587 G + 0.114 B, as in Pillow and OpenCV.
        scale: factor for the pixels, which are 0 to 255.
        mean, std: one number per channel in the order of ``color``, or one for all channels.
        dtype: type of the result; integers are rounded.
    """

    height: int
    width: int
    resize: Resize = "stretch"
    color: Color = "rgb"
    layout: Layout = "nchw"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad: int = 114
    crop_ratio: float = 0.875
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype(np.float32))

    def __post_init__(self) -> None:
        channels = 1 if self.color == "grey" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise DataError(f"{name} has {len(values)} numbers for {channels} channels ({self.color})")
        if 0 in self.std:
            raise DataError(f"std is {self.std}; it divides, so it cannot be 0")

    def __call__(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """Return ``image`` (RGB) as [channels, height, width], or [height, width, channels] for ``nhwc``."""
        size = self.height, self.width
        image = resized(image, *size, self.resize, crop_ratio=self.crop_ratio, pad=self.pad)
        pixels = np.asarray(image.convert("L" if self.color == "grey" else "RGB")).reshape(*size, -1)
        if self.color == "bgr":
            pixels = pixels[..., ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values: npt.NDArray[Any] = (pixels.astype(np.float32) * np.float32(self.scale) - mean) / std
        if self.layout == "nchw":
            values = values.transpose(2, 0, 1)
        if np.issubdtype(self.dtype, np.integer):
            values = np.rint(values)
        return np.ascontiguousarray(values.astype(self.dtype))

    def __str__(self) -> str:
        scale = f"× 1/{1 / self.scale:g}" if self.scale and self.scale < 1 else f"× {self.scale:g}"
        centred = "" if self.mean == (0.0,) else f" − {_listed(self.mean)}"
        divided = "" if self.std == (1.0,) else f", ÷ {_listed(self.std)}"
        return (
            f"{self.resize} to {self.height}x{self.width}, {self.color}, pixels {scale}{centred}{divided}, "
            f"{self.layout} {self.dtype}"
        )


def preprocessing_for(
    spec: InputSpec,
    *,
    preset: str | None = None,
    size: tuple[int, int] | None = None,
    layout: Layout | None = None,
    **given: Any,
) -> Preprocessing:
    """Return the preprocessing for an input; its size, layout, channels and dtype come from the model.

    Args:
        spec: the input, of rank 4.
        preset: a key of `PRESETS`; fields in ``given`` override it.
        size: height and width, for inputs whose height and width are dynamic.
        layout: for inputs whose channel axis is ambiguous.
        given: other fields of `Preprocessing`; None means not given.

    Raises:
        DataError: the input does not take images, or a field is missing that the model does not tell.
    """
    if preset is not None and preset not in PRESETS:
        raise DataError(f"preset {preset!r} is not known; choose one of {', '.join(PRESETS)}")
    if len(spec.shape) != 4:
        raise DataError(
            f"input {spec} has {len(spec.shape)} axes, but images need 4; give the samples as .npz, or a "
            "Python function, file.py:function"
        )
    layout = layout or _layout(spec)
    channels, *sides = (spec.shape[axis] for axis in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
    fields = {**PRESETS.get(preset or "", {}), **{k: v for k, v in given.items() if v is not None}}
    if np.issubdtype(spec.dtype, np.floating) and not {"scale", "mean", "std"} & fields.keys():
        raise DataError(
            "the pixel scaling of the training is not given, and a wrong one gives wrong ranges without an "
            "error; add preset='imagenet', preset='yolo', or scale=1/255 (and mean=, std=)"
        )
    fields.setdefault("color", "grey" if channels == 1 else "rgb")
    if channels not in ((1, "grey") if fields["color"] == "grey" else (3,)) and not isinstance(channels, str):
        raise DataError(f"input {spec} has {channels} channels, which color={fields['color']!r} does not fit")
    height, width = _size(spec, (sides[0], sides[1]), size)
    return Preprocessing(height=height, width=width, layout=layout, dtype=spec.dtype, **fields)


def _layout(spec: InputSpec) -> Layout:
    first, last = spec.shape[1] in (1, 3), spec.shape[3] in (1, 3)
    if first == last:
        raise DataError(f"the channel axis of input {spec} is ambiguous; add layout='nchw' or layout='nhwc'")
    return "nchw" if first else "nhwc"


def _size(
    spec: InputSpec, sides: tuple[int | str, int | str], size: tuple[int, int] | None
) -> tuple[int, int]:
    wanted = [side if isinstance(side, int) else size[i] if size else None for i, side in enumerate(sides)]
    height, width = wanted
    if height is None or width is None:
        known = [size if isinstance(size, int) else 224 for size in spec.shape[1:]]
        example = ",".join("x".join(map(str, [count, *known])) for count in (1, 8, 32))
        raise DataError(
            f"input {spec} has dynamic height and width; give size= to calibrate, or "
            f"shapes={f'{spec.name}:{example}'!r} to build"
        )
    if size is not None and (height, width) != size:
        raise DataError(f"size is {size[0]}x{size[1]}, but input {spec} is fixed; omit size=")
    return height, width


def _listed(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"({', '.join(f'{value:g}' for value in values)})"

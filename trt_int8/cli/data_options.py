"""``--data`` and the options to read, prepare and batch samples; the opened samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import click

from trt_int8 import progress
from trt_int8.choices import COLORS, LAST, LAYOUTS, PRESETS, RESIZE
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Decorated, count_option, given, grouped, option
from trt_int8.cli.terminal import say
from trt_int8.files.places import is_special

if TYPE_CHECKING:
    import onnx

    from trt_int8.batches.opening import ReadyBatches
    from trt_int8.batches.readable import ReadableBatches
    from trt_int8.batches.samples import Samples
    from trt_int8.graph.inputs import InputSpec
    from trt_int8.graph.model import Model
    from trt_int8.graph.shapes import Shapes

#: Batches to divide the samples into if tensors are recentred.
_RECENTRING_PARTS = 32
#: Batch size if neither the options nor the model give one.
DEFAULT_BATCH = 8
#: Options that choose among samples, and have no default.
_SAMPLING = ("limit", "shuffle")
#: Options that prepare images, as `trt_int8.batches.opening.open_data` takes them.
_IMAGES = ("preset", "size", "resize", "color", "layout", "scale", "mean", "std")
Opener: TypeAlias = "Callable[[], Samples | ReadyBatches]"


@dataclass(frozen=True)
class Data:
    """Opened data and how to batch it. Each iteration reads the batches again."""

    source: Samples | ReadyBatches
    batch_size: int
    options: DataOptions
    opener: Opener
    specs: Mapping[str, InputSpec]
    shapes: Shapes
    lost: Callable[[], str] | None = None  # what Ctrl-C prints, see `trt_int8.progress.display.Phase`
    doing: str = "calibrating"

    #: Batches are checked here, so that `trt_int8.batches.checked` does not check them again.
    is_checked: ClassVar[bool] = True

    def while_(self, doing: str) -> Data:
        """Return the same data, whose progress is shown as ``doing``."""
        return replace(self, doing=doing)

    def divided_for(self, algorithm: str | None, *, recentred: bool = False) -> Data:
        """Return the same samples in smaller batches, so that some batches can be held back for evaluation.

        ``auto`` evaluates each method on every fourth batch. With ``recentred`` each shift is evaluated. The
        batch size stays if model or source fix it, and is never below the min shape.
        """
        from trt_int8.batches.holdout import EVERY
        from trt_int8.batches.opening import ReadyBatches
        from trt_int8.graph.inputs import fixed_batch

        parts = _RECENTRING_PARTS if recentred else EVERY if algorithm == "auto" else 1
        if isinstance(self.source, ReadyBatches) or fixed_batch(self.specs) is not None or parts == 1:
            return self
        samples = min(len(self.source), self.options.limit or len(self.source))
        lowest = max((shape.min[0] for shape in self.shapes.values() if shape.min), default=1)
        return replace(self, batch_size=max(lowest, min(self.batch_size, samples // parts)))

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the checked batches, show progress, and print at the end which images were skipped."""
        return progress.track(self._batches(), self.doing, total=self._count(), lost=self.lost)

    def readable(self) -> ReadableBatches:
        """Return the same batches for Dask workers."""
        from trt_int8.batches.readable import ReadableBatches

        o = self.options
        if o.data is not None and is_special(o.data):
            raise click.UsageError(
                f"each worker opens --data itself, and {o.data} is a pipe; save the samples in a file"
            )
        return ReadableBatches(self.opener, self.batch_size, o.last, o.limit, o.shuffle)  # type: ignore[arg-type]  # click checked `last`

    def _batches(self) -> Iterator[Mapping[str, Any]]:
        from trt_int8.batches.check import checked
        from trt_int8.batches.opening import batches_from

        o = self.options
        # A generator can be read once only, so it is opened again.
        used_up = isinstance(getattr(self.source, "batches", None), Iterator)
        source = self.opener() if used_up else self.source
        batches = batches_from(source, self.batch_size, last=o.last, limit=o.limit, shuffle=o.shuffle)  # type: ignore[arg-type]  # as above
        yield from checked(batches, self.specs, shapes=self.shapes)
        for reason in getattr(source, "skipped", {}).values():
            say(f"skipped: {reason}", err=True)

    def _count(self) -> int | None:
        """Return the number of batches, None if it is not known."""
        ready = getattr(self.source, "batches", None)
        if ready is not None:
            return len(ready) if hasattr(ready, "__len__") and self.options.limit is None else None
        samples = len(self.source)  # type: ignore[arg-type]  # samples, as they are no ready batches
        return -(-min(samples, self.options.limit or samples) // self.batch_size)


@dataclass(frozen=True)
class DataOptions:
    """Values of the data options; ``size`` is (height, width) in pixels."""

    data: str | None
    batch_size: int | None
    limit: int | None
    last: str
    shuffle: int | None
    preset: str | None
    size: tuple[int, int] | None
    resize: str | None
    color: str | None
    layout: str | None
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    ignore_orientation: bool
    skip_bad: bool
    random: int | None = None

    def __post_init__(self) -> None:
        if self.data is not None and self.random is not None:
            raise click.UsageError("give either --data or --random")
        images = None if self.data is not None else self._first(*_IMAGES, "skip_bad", "ignore_orientation")
        samples = None if self.given else self._first(*_SAMPLING)
        if unused := samples or images:
            raise click.UsageError(
                f"--{unused.replace('_', '-')} needs {'samples' if samples else 'images'}: add --data "
                "SOURCE, or leave it out"
            )

    @property
    def given(self) -> bool:
        """True if there are samples, random ones included."""
        return self.data is not None or self.random is not None

    def _first(self, *names: str) -> str | None:
        """Return the first of these options that the user gave."""
        return next(
            (n for n in names if (value := getattr(self, n)) is not None and value is not False), None
        )

    def open(self, loaded: onnx.ModelProto | Model, shapes: Shapes | None = None) -> Data:
        """Open the data for the inputs of ``loaded``, to be batched to fit ``shapes``."""
        from trt_int8.batches.images import ImageSamples
        from trt_int8.batches.opening import ReadyBatches
        from trt_int8.graph.inputs import fixed_batch
        from trt_int8.graph.model import Model
        from trt_int8.graph.shapes import require_shapes_fit

        specs, shapes = Model.unchecked(loaded).inputs, shapes or {}
        require_shapes_fit(specs, shapes)
        opener = self._opener(specs, shapes)
        source = opener()
        if isinstance(source, ImageSamples):
            progress.note(f"{self.data}: {len(source)} images, {source.preprocessing}")
        elif self.random is None and (unused := self._first(*_IMAGES)):
            raise click.UsageError(f"--{unused} is for images, and --data {self.data} has none")
        fixed = None if isinstance(source, ReadyBatches) else fixed_batch(specs)
        if fixed is not None and self.batch_size not in (None, fixed):
            raise click.UsageError(
                f"--batch-size is {self.batch_size} and the model's batch size is fixed at {fixed}; "
                "leave the option out"
            )
        opt = next((shape.opt[0] for shape in shapes.values() if shape.opt), None)
        return Data(source, fixed or self.batch_size or opt or DEFAULT_BATCH, self, opener, specs, shapes)

    def _opener(self, specs: Mapping[str, InputSpec], shapes: Shapes) -> Opener:
        from trt_int8.batches.opening import open_data
        from trt_int8.batches.samples import WARNING, random_samples

        if self.random is not None:
            say(f"WARNING: {WARNING}", err=True)
            return partial(random_samples, specs, self.random, shapes=shapes)
        if self.data is None:
            raise click.UsageError("give the samples: --data SOURCE")
        images: dict[str, Any] = {name: getattr(self, name) for name in _IMAGES}
        upright = not self.ignore_orientation
        return partial(
            open_data, self.data, specs, shapes=shapes, orientation=upright, skip_bad=self.skip_bad, **images
        )


#: Larger factors are mistakes.
_LARGE = 1e99


def _size(text: str) -> tuple[int, int]:
    # A list in a configuration file (size: [48, 192]) arrives with a comma.
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise click.BadParameter(f"{text!r:.80} is not a size; write HEIGHTxWIDTH, as in 224x224")
    return int(parts[0]), int(parts[1])


def _number(text: str) -> float:
    try:
        over, slash, under = text.partition("/")
        if "/" in under:
            raise ValueError(text)
        return float(_fraction(over) / (_fraction(under) if slash else 1))
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{text!r:.80} is not a number; write 0.5 or 1/255") from error


def _fraction(text: str) -> Fraction:
    value = abs(float(text))
    if not value < _LARGE:  # NaN, too
        raise ValueError(text)
    return Fraction(text.strip()) if value > 1 / _LARGE else Fraction(0)  # it would write 1e-999999999 out


def _channels(text: str) -> tuple[float, ...]:
    return tuple(map(_number, text.split(",")))


_SOURCE = option(
    "--data",
    metavar="SOURCE",
    type=click.Path(),
    help="Samples. One of: an .npz file with one key per model input; an .npy file for a model with one "
    "input (axis 0 counts the samples in both); an image, a folder of images or a quoted pattern such as "
    "'photos/*.jpg'; a Python function that returns batches, as file.py:function or module:function.",
)
_RANDOM = count_option(
    "--random",
    help="Use N samples of random numbers instead of data. Use it only to measure the speed of the engine: "
    "its outputs will be wrong.",
)
_OPTIONS = [
    count_option(
        "--batch-size",
        help="Samples per batch. [default: the model's fixed batch size, else the batch size of the opt "
        "shape, else 8]",
    ),
    count_option("--limit", help="Use at most N samples."),
    option(
        "--last",
        type=click.Choice(LAST),
        default="keep",
        help="What to do with an incomplete last batch: keep it, drop it, or pad it to the full batch size.",
    ),
    option("--shuffle", type=click.IntRange(min=0), metavar="SEED", help="Read the samples in random order."),
    option(
        "--preset",
        type=click.Choice(PRESETS),
        help="Images: use the preprocessing of torchvision (imagenet) or Ultralytics (yolo).",
    ),
    option(
        "--size",
        metavar="HxW",
        callback=given(_size),
        help="Images: height and width in pixels, for a model in which they are dynamic.",
    ),
    option(
        "--resize",
        type=click.Choice(RESIZE),
        help="Images: how to resize. stretch (default): change the aspect ratio. letterbox: keep it and pad. "
        "crop: keep it and cut out the centre. none: refuse images of another size.",
    ),
    option("--color", type=click.Choice(COLORS), help="Images: order of the channels."),
    option("--layout", type=click.Choice(LAYOUTS), help="Images: memory layout of the input."),
    option(
        "--scale",
        metavar="X",
        callback=given(_number),
        help="Images: multiply each pixel (0 to 255) by this factor, such as 1/255.",
    ),
    option(
        "--mean",
        metavar="R,G,B",
        callback=given(_channels),
        help="Images: subtract these means after --scale.",
    ),
    option(
        "--std",
        metavar="R,G,B",
        callback=given(_channels),
        help="Images: divide by these standard deviations last.",
    ),
    option("--ignore-orientation", is_flag=True, help="Images: ignore the EXIF orientation tag."),
    option("--skip-bad", is_flag=True, help="Images: skip files that cannot be read."),
]


def data(*, required: bool, random: bool = False) -> Callable[[Decorated], Decorated]:
    """Declare ``--data`` and what goes with it. The command gets one argument ``data``, a `DataOptions`.

    With ``required``, a command without data is a usage error. ``random`` adds ``--random``.
    """

    def checked(**values: Any) -> DataOptions:
        options = DataOptions(**values)
        if required and not options.given:
            raise click.UsageError("give the samples: --data SOURCE")
        return options

    every = [_SOURCE, *([_RANDOM] if random else []), *_OPTIONS]
    return grouped("data", checked, every, panel=Panel.SAMPLES)

"""``--data`` and everything that says how to read, prepare and batch it; the samples, opened."""

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
from trt_int8.cli.parameters import Decorated, grouped, option

if TYPE_CHECKING:
    import onnx

    from trt_int8.batches.opening import ReadyBatches
    from trt_int8.batches.readable import ReadableBatches
    from trt_int8.batches.samples import Samples
    from trt_int8.graph.inputs import InputSpec
    from trt_int8.graph.model import Model
    from trt_int8.graph.shapes import Shapes

#: Batches to cut the samples into where tensors are recentred.
_RECENTRING_PARTS = 32

Opener: TypeAlias = "Callable[[], Samples | ReadyBatches]"


@dataclass(frozen=True)
class Data:
    """Opened data and how to batch it; iterating reads the batches anew.

    Attributes:
        lost: see `trt_int8.progress.display.Phase`.
    """

    source: Samples | ReadyBatches
    batch_size: int
    options: DataOptions
    opener: Opener
    specs: Mapping[str, InputSpec]
    shapes: Shapes
    lost: Callable[[], str] | None = None
    doing: str = "calibrating"

    #: `trt_int8.batches.checked` passes the batches on as they are: they are checked here.
    is_checked: ClassVar[bool] = True

    def while_(self, doing: str) -> Data:
        """The same data, whose progress is shown as ``doing``."""
        return replace(self, doing=doing)

    def divided_for(self, algorithm: str | None, *, recentred: bool = False) -> Data:
        """The same samples in smaller batches, where some batches are to judge what the others give.

        The size stays as it is where model or source fix it, and never falls below the min shape.

        Args:
            algorithm: ``auto`` judges each method by every fourth batch.
            recentred: whether each tensor that is recentred is judged.
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
        """The batches, checked; progress is shown, and which images were skipped is told at the end."""
        return progress.track(self._batches(), self.doing, total=self._count(), lost=self.lost)

    def readable(self) -> ReadableBatches:
        """The same batches for readers elsewhere."""
        from trt_int8.batches.readable import ReadableBatches

        o = self.options
        return ReadableBatches(self.opener, self.batch_size, o.last, o.limit, o.shuffle)  # type: ignore[arg-type]  # click checked `last`

    def _batches(self) -> Iterator[Mapping[str, Any]]:
        from trt_int8.batches.check import checked
        from trt_int8.batches.opening import batches_from

        o = self.options
        source = self.opener() if self._read_once else self.source
        batches = batches_from(
            source,
            self.batch_size,
            last=o.last,  # type: ignore[arg-type]  # as above
            limit=o.limit,
            shuffle=o.shuffle,
        )
        yield from checked(batches, self.specs, shapes=self.shapes)
        for reason in getattr(source, "skipped", {}).values():
            click.echo(f"skipped: {reason}", err=True)

    @property
    def _read_once(self) -> bool:
        """Whether the source is a generator, which a second reading would find used up."""
        ready = getattr(self.source, "batches", None)
        return isinstance(ready, Iterator)

    def _count(self) -> int | None:
        """How many batches there will be, where that is known."""
        ready = getattr(self.source, "batches", None)
        if ready is not None:
            return len(ready) if hasattr(ready, "__len__") and self.options.limit is None else None
        samples = len(self.source)  # type: ignore[arg-type]  # samples, as they are no ready batches
        return -(-min(samples, self.options.limit or samples) // self.batch_size)


#: Samples in a batch where neither the options nor the model say.
DEFAULT_BATCH = 8

#: Options that choose among samples, and have no default.
_SAMPLING = ("limit", "shuffle")


@dataclass(frozen=True)
class DataOptions:
    """What the data options say."""

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
        if idle := self._without_effect():
            what = "samples, and there are none" if idle in _SAMPLING else "images, and there are none"
            raise click.UsageError(
                f"--{idle.replace('_', '-')} is for {what}: add --data SOURCE, or leave it out"
            )

    @property
    def given(self) -> bool:
        """Whether there is anything to run the model with."""
        return self.data is not None or self.random is not None

    def _without_effect(self) -> str | None:
        """An option that would be taken for obeyed."""
        if self.data is not None:
            return None
        images = {**self._image_options(), "skip_bad": self.skip_bad or None}
        images["ignore_orientation"] = self.ignore_orientation or None
        sampling = {} if self.given else {name: getattr(self, name) for name in _SAMPLING}
        return next((name for name, value in {**sampling, **images}.items() if value is not None), None)

    def open(self, loaded: onnx.ModelProto | Model, shapes: Shapes | None = None) -> Data:
        """Open the data for the inputs of ``loaded``, to be batched as ``shapes`` want it."""
        from trt_int8.graph.model import Model
        from trt_int8.graph.shapes import require_shapes_fit

        specs = Model.unchecked(loaded).inputs
        require_shapes_fit(specs, shapes or {})
        opener = self._opener(specs, shapes)
        source = self._checked(opener())
        return Data(source, self._batch_size(source, specs, shapes), self, opener, specs, shapes or {})

    def _opener(self, specs: Mapping[str, InputSpec], shapes: Shapes | None) -> Opener:
        from trt_int8.batches.opening import open_data
        from trt_int8.batches.samples import WARNING, random_samples

        if self.random is not None:
            click.secho(f"WARNING: {WARNING}", fg="red", bold=True, err=True)
            return partial(random_samples, specs, self.random, shapes=shapes)
        if self.data is None:
            raise click.UsageError("give the samples: --data SOURCE")
        return partial(
            open_data,
            self.data,
            specs,
            shapes=shapes,
            orientation=not self.ignore_orientation,
            skip_bad=self.skip_bad,
            **self._image_options(),
        )

    def _image_options(self) -> dict[str, Any]:
        names = ("preset", "size", "resize", "color", "layout", "scale", "mean", "std")
        return {name: getattr(self, name) for name in names}

    def _checked(self, opened: Samples | ReadyBatches) -> Samples | ReadyBatches:
        from trt_int8.batches.images import ImageSamples

        if self.random is not None:
            return opened
        if isinstance(opened, ImageSamples):
            progress.note(f"{self.data}: {len(opened)} images, {opened.preprocessing}")
        elif given := [name for name, value in self._image_options().items() if value is not None]:
            raise click.UsageError(f"--{given[0]} is for images, and --data {self.data} is none")
        return opened

    def _batch_size(
        self, source: Samples | ReadyBatches, specs: Mapping[str, InputSpec], shapes: Shapes | None
    ) -> int:
        from trt_int8.batches.opening import ReadyBatches
        from trt_int8.graph.inputs import fixed_batch

        opt = next((shape.opt[0] for shape in (shapes or {}).values() if shape.opt), None)
        fixed = None if isinstance(source, ReadyBatches) else fixed_batch(specs)
        if fixed is not None and self.batch_size not in (None, fixed):
            raise click.UsageError(
                f"--batch-size is {self.batch_size} and the model's batch size is fixed at {fixed}; "
                "leave the option out"
            )
        return fixed or self.batch_size or opt or DEFAULT_BATCH


def _size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    # With a comma comes the list of a configuration file: size: [48, 192].
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r} is no size; write HEIGHTxWIDTH, as in 224x224")
    return int(parts[0]), int(parts[1])


def _number(text: str) -> float:
    try:
        over, slash, under = text.partition("/")
        if "/" in under:
            raise ValueError(text)
        return float(Fraction(over.strip()) / (Fraction(under.strip()) if slash else 1))
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{text!r} is no number; write 0.5 or 1/255") from error


def _scale(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    return None if text is None else _number(text)


def _channels(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(_number(part) for part in text.split(","))


_SOURCE = option(
    "--data",
    metavar="SOURCE",
    type=click.Path(),
    help="Samples: .npz with a key per input or .npy (the first axis counts them); a folder, 'pattern/*.jpg' "
    "or file of images; or a Python function that returns batches, file.py:function or module:function.",
)

_RANDOM = option(
    "--random",
    type=click.IntRange(min=1),
    metavar="N",
    help="N samples of random numbers instead of data: only to time an engine, results will be wrong.",
)

_OPTIONS = [
    option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Samples in a batch (default: what the model fixes, else the opt shape of --shapes, else 8).",
    ),
    option("--limit", type=click.IntRange(min=1), metavar="N", help="Use N samples at most."),
    option(
        "--last",
        type=click.Choice(LAST),
        default="keep",
        show_default=True,
        help="What to do with a short last batch.",
    ),
    option(
        "--shuffle", type=click.IntRange(min=0), metavar="SEED", help="Take the samples in a random order."
    ),
    option(
        "--preset",
        type=click.Choice(PRESETS),
        help="Images: prepare them as in training on ImageNet (torchvision) or of YOLO (Ultralytics).",
    ),
    option(
        "--size", metavar="HxW", callback=_size, help="Images: height and width, where the model is dynamic."
    ),
    option(
        "--resize",
        type=click.Choice(RESIZE),
        help="Images: stretch (default), fit inside and pad, crop the centre, or take only that size.",
    ),
    option("--color", type=click.Choice(COLORS), help="Images: order of the channels."),
    option("--layout", type=click.Choice(LAYOUTS), help="Images: where the channels go."),
    option(
        "--scale", metavar="X", callback=_scale, help="Images: factor for pixels (0 to 255), as in 1/255."
    ),
    option("--mean", metavar="R,G,B", callback=_channels, help="Images: subtracted after scaling."),
    option("--std", metavar="R,G,B", callback=_channels, help="Images: divided by after that."),
    option("--ignore-orientation", is_flag=True, help="Images: do not turn them as their EXIF tag says."),
    option("--skip-bad", is_flag=True, help="Images: leave out files that cannot be read."),
]


def data(*, required: bool, random: bool = False) -> Callable[[Decorated], Decorated]:
    """``--data`` and what goes with it; the command gets one argument ``data``, a `DataOptions`.

    Args:
        required: whether the command is wrong without data.
        random: adds ``--random``, for a command whose result shows its speed even so.
    """

    def checked(**values: Any) -> DataOptions:
        options = DataOptions(**values)
        if required and not options.given:
            raise click.UsageError("give the samples: --data SOURCE")
        return options

    every = [_SOURCE, *([_RANDOM] if random else []), *_OPTIONS]
    return grouped("data", checked, every, panel=Panel.SAMPLES)

"""The samples that the data options name, opened and batched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import click

from trt_int8 import progress

if TYPE_CHECKING:
    from trt_int8.batches.opening import ReadyBatches
    from trt_int8.batches.readable import ReadableBatches
    from trt_int8.batches.source import Samples
    from trt_int8.cli.data_options import DataOptions
    from trt_int8.model.inputs import InputSpec
    from trt_int8.model.shape_range import Shapes

#: Batches to cut the samples into where tensors are recentred.
_RECENTRING_PARTS = 32

Opener: TypeAlias = "Callable[[], Samples | ReadyBatches]"


@dataclass(frozen=True)
class Data:
    """Opened data and how to batch it; iterating reads the batches anew.

    Attributes:
        lost: see `trt_int8.progress.phases.Phase`.
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
        from trt_int8.model.inputs import fixed_batch

        parts = _RECENTRING_PARTS if recentred else EVERY if algorithm == "auto" else 1
        if isinstance(self.source, ReadyBatches) or fixed_batch(self.specs) is not None or parts == 1:
            return self
        samples = min(len(self.source), self.options.limit or len(self.source))
        lowest = max((shape.min[0] for shape in self.shapes.values() if shape.min), default=1)
        return replace(self, batch_size=max(lowest, min(self.batch_size, samples // parts)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches, checked; progress is shown, and which images were skipped is told at the end."""
        return progress.track(self._batches(), self.doing, total=self._count(), lost=self.lost)

    def readable(self) -> ReadableBatches:
        """The same batches for readers elsewhere."""
        from trt_int8.batches.readable import ReadableBatches

        o = self.options
        return ReadableBatches(self.opener, self.batch_size, o.last, o.limit, o.shuffle)  # type: ignore[arg-type]  # click checked `last`

    def _batches(self) -> Iterator[dict[str, Any]]:
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

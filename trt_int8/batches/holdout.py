"""Hold some samples back, to evaluate on them what is made from the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import chain
from typing import Any

from trt_int8.batches.check import checked, count_samples, require_within
from trt_int8.batches.items import Batches, DataDigest, as_batch, on_device, to_numpy
from trt_int8.batches.samples import Batch
from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec
from trt_int8.graph.shapes import Shapes

#: The second of this many batches is held back, here and to compare the methods of `auto`.
EVERY = 4
#: Default number of samples to hold back, and of samples to keep for corrections.
SAMPLES = 16
#: Data with fewer samples than this is not divided.
FEWEST = 4
Rows = tuple[int, int]


class HoldOut:
    """Batches of which some are held back. Iteration yields the others, checked against the model.

    The data is read and checked once. Copies of the held-back batches and of the first other batches stay in
    memory. If there are fewer than `EVERY` batches, the last quarter of the rows of each is held back,
    provided that the model takes any batch size.

    Args:
        batches: any iterable of batches (see `trt_int8.batches.items.as_batch`).
        specs: the model's inputs.
        shapes: the optimization profile that the batches must fit; None for a model of fixed shapes.
        samples: how many samples to hold back, and how many of the others to keep for corrections.
        divisible: the first axis of the inputs is a batch axis, so a batch can be cut.
        for_calibrator: TensorRT's calibrator reads the other batches and checks them itself. Only whole
            batches are held back, and none from the first batch in GPU memory on.
        convert: turns a batch into the model's input, if a device does so on the way to the calibrator.

    Attributes:
        is_checked: tells `trt_int8.batches.checked` not to check the batches again.
    """

    def __init__(
        self,
        batches: Batches,
        specs: Mapping[str, InputSpec],
        *,
        shapes: Shapes | None = None,
        samples: int = SAMPLES,
        divisible: bool = True,
        for_calibrator: bool = False,
        convert: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self.specs = specs
        self._batches = batches
        self._shapes = shapes
        self._samples = samples
        self._divisible = divisible and not for_calibrator
        self._for_calibrator = for_calibrator
        self._convert = convert
        self.is_checked = not for_calibrator
        self._kept: dict[int, int] = {}  # number of a batch → how many of its rows are not held back
        self._held: list[Batch] = []
        self._first: list[Batch] = []
        self._rows: dict[bool, list[Rows]] = {True: [], False: []}
        self._opened = False
        self._started: tuple[list[Batch], Iterator[Batch]] | None = None

    @property
    def held(self) -> tuple[Batch, ...]:
        """The held-back batches; none if the data cannot be divided."""
        self._open()
        return tuple(self._held)

    @property
    def first(self) -> tuple[Batch, ...]:
        """The first of the other batches, with the number of samples asked for if there are as many."""
        self._open()
        return tuple(self._first)

    @property
    def evaluation(self) -> tuple[Batch, ...]:
        """The batches to evaluate on, as the model takes them: the held-back ones, else the first ones."""
        batches = self.held or self.first
        if not self._for_calibrator or not batches:
            return batches
        return tuple(checked(map(self._convert, batches) if self._convert else batches, self.specs))

    @property
    def rows(self) -> tuple[Rows, ...]:
        """[start, stop) of the samples in each batch of `evaluation`, counted over all the data."""
        return tuple(self._rows[bool(self.held)])

    def digest(self) -> str:
        """Return the hash of the samples in `evaluation`."""
        digest = DataDigest()
        for batch in self.evaluation:
            digest.add(batch)
        return digest.hexdigest()

    def add_held_to(self, digest: DataDigest) -> None:
        """Add the held-back samples to a digest of the other samples."""
        for batch in self.held:
            digest.add(batch)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches that are not held back; unless it is an iterator, the source is read again."""
        self._open()
        if self._started is not None:
            (head, rest), self._started = self._started, None
            source: Iterator[Batch] = chain(head, rest)
        elif self.once:
            raise DataError(
                "the data is an iterator that was already read; pass a list, or another object that can be "
                "read again"
            )
        else:
            source = self._read()
        for number, batch in enumerate(source):
            kept = self._kept.get(number)
            if kept is None:
                yield batch
            elif kept:
                yield _rows_of(batch, slice(kept))

    def close(self) -> None:
        """Stop reading; `held` and `first` stay in memory."""
        self._open()
        if self._started is not None:
            (_, rest), self._started = self._started, None
            if isinstance(rest, Generator):
                rest.close()

    @property
    def once(self) -> bool:
        """Whether the data can be read only once."""
        return isinstance(self._batches, Iterator)

    def readable(self) -> Any:
        """Return the batches for other processes: how to read them if the data knows it, else itself."""
        self._open()
        if not hasattr(self._batches, "readable") or any(self._kept.values()):
            return self
        elsewhere = self._batches.readable()
        return self if elsewhere.count() is None else elsewhere.without(tuple(self._kept))

    @property
    def calibration(self) -> Any:
        """The batches that are not held back: itself, or an iterator if the data can be read only once."""
        return _CheckedIterator(iter(self)) if self.once else self

    def _read(self) -> Iterator[Batch]:
        if not self._for_calibrator:
            return checked(self._batches, self.specs, shapes=self._shapes)
        return self._named()

    def _named(self) -> Iterator[Batch]:
        for number, item in enumerate(self._batches):
            place = f"the data, batch {number}"
            batch = as_batch(item, self.specs, place=place)
            if self._convert is None:
                require_within(self._shapes or {}, batch, self.specs, place)
            yield {
                name: value if on_device(value) else to_numpy(value, place=f"{place}, input {name!r}")
                for name, value in batch.items()
            }

    def _open(self) -> None:
        """Read until enough samples are held back."""
        if self._opened:
            return
        source = self._read()
        head: list[Batch] = []
        enough = all(_read_ahead(source, head) for _ in range(EVERY))
        self._opened, self._started = True, (head, source)
        if head and _in_gpu_memory(head[-1]):
            return
        if not enough:
            self._divide_few(head)
            return
        position = 0
        for number, batch in enumerate(head):  # grows while it is read
            position = self._divide(number, batch, position)
            if number == len(head) - 1 and not self._enough and not _read_ahead(source, head):
                break

    def _count(self, batches: list[Batch]) -> int:
        return count_samples(batches, self.specs)

    @property
    def _enough(self) -> bool:
        return min(self._count(self._held), self._count(self._first)) >= self._samples

    def _divide(self, number: int, batch: Batch, position: int) -> int:
        """Put ``batch`` into `held`, `first` or neither; return the number of the first sample after it."""
        stop = position + self._count([batch])
        hold = number % EVERY == 1 and self._count(self._held) < self._samples
        if hold:
            self._kept[number] = 0
        if hold or self._count(self._first) < self._samples:
            (self._held if hold else self._first).append(batch)
            self._rows[hold].append((position, stop))
        return stop

    def _divide_few(self, head: list[Batch]) -> None:
        position, total = 0, self._count(head)
        for number, batch in enumerate(head):
            size = self._count([batch])
            hold = size // EVERY if total >= FEWEST and self._can_be_cut(batch) else 0
            middle = position + size - hold
            self._first.append(_rows_of(batch, slice(size - hold)) if hold else batch)
            self._rows[False].append((position, middle))
            if hold:
                self._kept[number] = size - hold
                self._held.append(_rows_of(batch, slice(size - hold, None)))
                self._rows[True].append((middle, position + size))
            position += size

    def _can_be_cut(self, batch: Batch) -> bool:
        dynamic = all(spec.shape and spec.batch is None for spec in self.specs.values())
        return self._divisible and dynamic and len({array.shape[0] for array in batch.values()}) == 1


def _read_ahead(source: Iterator[Batch], head: list[Batch]) -> bool:
    """Append a copy of the next batch, as a source may reuse its arrays; return whether to read on.

    What is in GPU memory cannot be copied here, so nothing is read after it before its turn.
    """
    if (batch := next(source, None)) is None:
        return False
    there = _in_gpu_memory(batch)
    head.append(batch if there else {name: value.copy() for name, value in batch.items()})
    return not there


def _in_gpu_memory(batch: Batch) -> bool:
    return any(on_device(value) for value in batch.values())


def _rows_of(batch: Batch, rows: slice) -> Batch:
    return {name: array[rows] for name, array in batch.items()}


class _CheckedIterator:
    """Checked batches that can be read once."""

    is_checked = True

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> _CheckedIterator:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

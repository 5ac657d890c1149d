"""Compare a float model with another form of it, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import Batch, checked
from trt_int8.batches.items import Batches
from trt_int8.errors import ModelError
from trt_int8.evaluation.metrics import Difference
from trt_int8.graph.inputs import input_specs
from trt_int8.graph.passes.subgraph import with_outputs
from trt_int8.graph.runtime import Session

Array = npt.NDArray[np.generic]
#: Limit of SQNR in means over batches: float32 cannot resolve a higher one.
EXACT_DB = 150.0


class Runnable(Protocol):
    """A session of onnxruntime, or an engine on the GPU."""

    def run(self, batch: Batch, outputs: Sequence[str], *, place: str) -> list[Array]: ...


@dataclass(frozen=True)
class Comparison:
    """Differences of some tensors between two models.

    Attributes:
        by_batch: tensor → its difference in each batch, in order.
    """

    by_batch: Mapping[str, Sequence[Difference]]

    def pooled(self, tensor: str) -> Difference:
        """Return the difference over all batches together."""
        total = Difference()
        for difference in self.by_batch[tensor]:
            total.merge(difference)
        return total

    def sqnr_db(self, tensors: Iterable[str]) -> dict[str, float]:
        """Return SQNR of each tensor over all batches together, in dB; inf if the models agree."""
        return {name: self.pooled(name).sqnr_db for name in tensors}

    def mean_sqnr_db(self, tensors: Iterable[str]) -> dict[str, float]:
        """Return SQNR of each tensor in dB, as the mean over the batches, each limited to ±`EXACT_DB`.

        Over all data together, the sample with the largest error would decide.
        """
        return {
            name: float(np.mean([np.clip(d.sqnr_db, -EXACT_DB, EXACT_DB) for d in self.by_batch[name]]))
            for name in tensors
        }


class Comparer:
    """Runs the float model once, and compares other forms with it. Batches and values stay in memory.

    Attributes:
        names: the tensors to compare: ``tensors``, outputs or not; None: the float outputs.
        batches: the batches, checked.
        reference: for each batch the values of the tensors in the float model.

    Raises:
        DataError: there is no data, or it does not fit the model.
        ModelError: onnxruntime cannot run the model, or it has no float output.
    """

    def __init__(
        self, model: onnx.ModelProto, batches: Batches, *, tensors: Sequence[str] | None = None
    ) -> None:
        self.specs = input_specs(model)
        self.batches = tuple(checked(batches, self.specs))
        self.names = tuple(float_outputs(model) if tensors is None else tensors)
        self.reference = self.run(model)

    def run(self, model: onnx.ModelProto) -> list[list[Array]]:
        """Return for each batch the values of `names` in ``model``, with onnxruntime's optimizations off."""
        session = Session(with_outputs(model, self.names), optimize=False)
        return [session.run(b, self.names, place=f"batch {i}") for i, b in enumerate(self.batches)]

    def __call__(self, model: onnx.ModelProto) -> Comparison:
        """Compare ``model`` with the float model.

        Raises:
            ModelError: onnxruntime cannot run it, or the shape of a tensor depends on values.
        """
        return self.compare(self.run(model))

    def compare(self, found: Sequence[Sequence[Array]]) -> Comparison:
        """Compare values that `run` returned with those of the float model."""
        return compared(zip(self.reference, found, strict=True), self.names)


def float_outputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the float outputs; ModelError if there is none."""
    outputs = tuple(Session(model, optimize=False).float_outputs)
    if not outputs:
        raise ModelError("the model has no float output to compare")
    return outputs


def compared(pairs: Iterable[tuple[Sequence[Array], Sequence[Array]]], names: Sequence[str]) -> Comparison:
    """Compare pairs of values, one pair per batch; ModelError if a tensor has two shapes."""
    found: dict[str, list[Difference]] = {name: [] for name in names}
    for reference, other in pairs:
        for name, x, y in zip(names, reference, other, strict=True):
            if x.shape != y.shape:
                raise ModelError(
                    f"{name!r} has a data-dependent shape: {list(x.shape)} in the float model, "
                    f"{list(y.shape)} in the quantized model; the two cannot be compared"
                )
            found[name].append(Difference())
            found[name][-1].add(x, y)
    return Comparison(found)


def run_side_by_side(
    sessions: Sequence[Runnable], batches: Iterable[Batch], names: Sequence[str]
) -> Iterator[tuple[int, Batch, list[list[Array]]]]:
    """Run the same batches through several sessions.

    Yields:
        (number of the batch, the batch, for each session the values of ``names``).
    """
    for number, batch in enumerate(batches):
        yield number, batch, [session.run(batch, names, place=f"batch {number}") for session in sessions]

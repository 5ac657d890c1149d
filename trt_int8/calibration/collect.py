"""Run the float model over batches and count every float activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import checked
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.ties import tied_outputs
from trt_int8.errors import CalibrationError
from trt_int8.model.graph import GraphIndex
from trt_int8.model.inputs import InputSpec, input_specs
from trt_int8.runtime import Session


def collect(
    model: onnx.ModelProto,
    batches: Iterable[Mapping[str, npt.ArrayLike]],
    *,
    threads: int | None = None,
    place: str = "the data",
) -> Histograms:
    """One pass over ``batches``: a histogram of every float input and activation of ``model``.

    Memory does not grow with the number of batches. The counts do not depend on the order of the
    samples nor on how they are split over calls, as far as the model computes the same values for a
    sample whatever else is in its batch.

    Args:
        model: the float model.
        batches: ``{input name: array}``, see `trt_int8.batches.checked`.
        threads: onnxruntime's threads inside an operator.
        place: what to call the data in messages.

    Raises:
        DataError: a batch does not fit the model, or there is none.
        CalibrationError: an activation is NaN (named with its batch).
        ModelError: onnxruntime cannot run the model.
    """
    specs = input_specs(model)
    session = Session(_with_all_outputs(model), threads=threads)
    index = GraphIndex(model)
    inputs = [name for name, spec in specs.items() if spec.is_float]
    fetched = set(session.float_outputs)
    activations = [name for name in index.order if name in fetched]
    tensors = {name: Histogram.empty() for name in [*inputs, *activations]}
    samples = 0
    for number, batch in enumerate(checked(batches, specs, place=place)):
        where = f"{place}, batch {number}"
        samples += _samples(batch, specs)
        for name, values in _values(session, batch, inputs, activations, where):
            try:
                tensors[name] = tensors[name].add(values)
            except CalibrationError as error:
                raise CalibrationError(
                    f"{where}, tensor {name!r}: {error}; the model itself computes it from finite "
                    "inputs, so look at the operator that makes this tensor"
                ) from error
    return Histograms(tensors, ties=tied_outputs(index, tensors), samples=samples)


def _values(
    session: Session,
    batch: Mapping[str, npt.NDArray[np.generic]],
    inputs: list[str],
    activations: list[str],
    where: str,
) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    for name in inputs:
        yield name, batch[name]
    yield from zip(activations, session.run(batch, activations, place=where), strict=True)


def _samples(batch: Mapping[str, npt.NDArray[np.generic]], specs: Mapping[str, InputSpec]) -> int:
    first = batch[next(iter(specs))]
    return first.shape[0] if first.ndim else 1


def _with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose every computed tensor is an output; onnxruntime infers their types."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(
        onnx.ValueInfoProto(name=name)
        for node in model.graph.node
        if node.op_type != "Constant"
        for name in node.output
        if name and name not in known
    )
    return extended

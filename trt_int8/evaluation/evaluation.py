"""Run a float model and its Q/DQ counterpart over the same data and compare the outputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation.metrics import Difference, top1
from trt_int8.model.inputs import input_specs
from trt_int8.model.load import load_model
from trt_int8.runtime import Session


@dataclass(frozen=True)
class OutputDifference:
    """One output of the quantized model against the float model's: dB, cosine, largest |error|."""

    sqnr_db: float
    cosine: float
    max_abs_error: float


@dataclass(frozen=True)
class Top1:
    """Share of samples classified right, 0 to 1, and on how many samples the two models agree."""

    output: str
    reference: float
    quantized: float
    agreement: float


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`: ``samples`` compared, outputs in the model's order, top-1 if labelled."""

    samples: int
    outputs: dict[str, OutputDifference]
    top1: Top1 | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON. An infinite SQNR (equal outputs) becomes null."""
        return {
            "samples": self.samples,
            "outputs": {
                name: {
                    "sqnr_db": difference.sqnr_db if np.isfinite(difference.sqnr_db) else None,
                    "cosine": difference.cosine,
                    "max_abs_error": difference.max_abs_error,
                }
                for name, difference in self.outputs.items()
            },
            "top1": None if self.top1 is None else vars(self.top1),
        }


def evaluate(
    reference: onnx.ModelProto | str | os.PathLike[str],
    quantized: onnx.ModelProto | str | os.PathLike[str],
    batches: Batches,
    *,
    labels: npt.ArrayLike | None = None,
    output: str | None = None,
) -> Evaluation:
    """Compare two models with the same inputs, onnxruntime's graph optimizations off for both.

    >>> import numpy as np
    >>> images = np.load("samples.npy")
    >>> result = evaluate("model.onnx", "model.qdq.onnx", [image[None] for image in images])
    >>> result.outputs["prob"].sqnr_db > 20
    True

    Args:
        reference: the float model.
        quantized: the same model with Q/DQ nodes.
        batches: ``{input name: array}``, see `trt_int8.batches.checked`.
        labels: int [n] or [n, 1], the right class of each sample, in the order of the batches.
        output: the output that holds class scores; None takes the first.

    Raises:
        ModelError: a model cannot be read or run, or the two have different outputs.
        DataError: a batch does not fit, or labels are not one class index a sample.
    """
    first, second = load_model(reference), load_model(quantized)
    sessions = Session(first, optimize=False), Session(second, optimize=False)
    names = [name for name in sessions[0].outputs if name in sessions[1].outputs]
    if not names:
        raise ModelError(
            f"the models share no output (first: {', '.join(sessions[0].outputs)}; second: "
            f"{', '.join(sessions[1].outputs)}); compare a model with its own quantized form"
        )
    scored = output if output is not None else names[0]
    if scored not in names:
        raise ModelError(f"output {scored!r} is not in both models; choose one of {', '.join(names)}")
    differences = {name: Difference() for name in names}
    predictions: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    samples = classes = 0
    for number, batch in enumerate(checked(batches, input_specs(first))):
        results = [session.run(batch, names, place=f"batch {number}") for session in sessions]
        for name, x, y in zip(names, *results, strict=True):
            if x.shape != y.shape:
                raise ModelError(
                    f"output {name!r} is {list(x.shape)} in one model and {list(y.shape)} in the other"
                )
            for which, values in (("first", x), ("second", y)):
                if np.isnan(values).any():
                    raise ModelError(f"batch {number}: output {name!r} of the {which} model holds NaN")
            differences[name].add(x, y)
        samples += len(next(iter(batch.values())))
        if labels is not None:
            scores = [result[names.index(scored)] for result in results]
            if scores[0].ndim < 2:
                raise ModelError(
                    f"output {scored!r} has shape {list(scores[0].shape)}, no [samples, classes]; name the "
                    "output that holds class scores"
                )
            classes = int(np.prod(scores[0].shape[1:]))
            predictions.append((top1(scores[0]), top1(scores[1])))
    outputs = {name: OutputDifference(d.sqnr_db, d.cosine, d.max_abs) for name, d in differences.items()}
    if labels is None:
        return Evaluation(samples, outputs, None)
    return Evaluation(samples, outputs, _top1(scored, predictions, classes, labels))


def _top1(
    output: str,
    predictions: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    classes: int,
    labels: npt.ArrayLike,
) -> Top1:
    reference, quantized = (np.concatenate(parts) for parts in zip(*predictions, strict=True))
    right = _right_classes(labels, len(reference), classes)
    return Top1(
        output,
        reference=float((reference == right).mean()),
        quantized=float((quantized == right).mean()),
        agreement=float((reference == quantized).mean()),
    )


def _right_classes(labels: npt.ArrayLike, samples: int, classes: int) -> npt.NDArray[np.int64]:
    right = np.asarray(labels)
    if not (right.ndim == 1 or (right.ndim == 2 and right.shape[1] == 1)):
        raise DataError(
            f"labels have shape {list(right.shape)}; give one class index a sample, [n] (for one-hot "
            "labels: .argmax(1))"
        )
    if not np.issubdtype(right.dtype, np.integer):
        raise DataError(f"labels are {right.dtype}; give the class of each sample as an integer")
    if len(right) != samples:
        raise DataError(f"there are {len(right)} labels for {samples} samples; give one a sample")
    if not (right.min() >= 0 and right.max() < classes):
        raise DataError(
            f"labels reach from {right.min()} to {right.max()}, and the classes of the model from 0 to "
            f"{classes - 1}"
        )
    return right.reshape(-1).astype(np.int64)

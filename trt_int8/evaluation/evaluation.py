"""Run a float model and its Q/DQ counterpart over the same data and compare the outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import Batch, checked, count_samples
from trt_int8.batches.items import Batches, DataDigest, require_batches
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation.comparer import Array, compared, run_side_by_side
from trt_int8.evaluation.engine import EngineSession, is_engine
from trt_int8.evaluation.metrics import Difference, Metric, measure, topk
from trt_int8.graph.inputs import InputSpec, input_specs
from trt_int8.graph.load import load_model
from trt_int8.graph.runtime import Session
from trt_int8.record import QuantizationRecord, read_record

ModelOrEngine = onnx.ModelProto | str | os.PathLike[str]
Runner = Session | EngineSession


@dataclass(frozen=True)
class OutputDifference:
    """Difference of one output between the two models: SQNR in dB, cosine, largest absolute error."""

    sqnr_db: float
    cosine: float
    max_abs_error: float


@dataclass(frozen=True)
class Top1:
    """Top-1 (or top-5) accuracy of both models as shares, and the share of samples on which they agree."""

    output: str
    reference: float
    quantized: float
    agreement: float


@dataclass(frozen=True)
class MetricValues:
    """Values of the user's metric for the two models; higher is better."""

    reference: float
    quantized: float


@dataclass(frozen=True)
class HeldBack:
    """SQNR of each output in dB on the samples of the model's record; see `QuantizationRecord.unseen`."""

    samples: int
    sqnr_db: dict[str, float]
    unseen: bool


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        samples: number of samples.
        outputs: in the model's order.
        top1, top5: if there are labels; top5 for more than five classes.
        metric: if one was given.
        held_back: SQNR on the samples that the record of the model was measured on; None if the record does
            not name them, or not all of them are among the samples.
    """

    samples: int
    outputs: dict[str, OutputDifference]
    top1: Top1 | None
    top5: Top1 | None = None
    metric: MetricValues | None = None
    held_back: HeldBack | None = None

    @property
    def sqnr_db(self) -> float:
        """SQNR of the worst output."""
        return min(difference.sqnr_db for difference in self.outputs.values())

    @property
    def drop(self) -> float | None:
        """Drop of the metric, or else of top-1 (a share), by quantization; None without either."""
        values = self.metric or self.top1
        return None if values is None else values.reference - values.quantized

    def to_dict(self) -> dict[str, Any]:
        """Return the content for JSON. An infinite SQNR (equal outputs) or error becomes null."""

        def finite(values: Mapping[str, float]) -> dict[str, float | None]:
            return {name: value if np.isfinite(value) else None for name, value in values.items()}

        document: dict[str, Any] = {
            "samples": self.samples,
            "outputs": {name: finite(vars(difference)) for name, difference in self.outputs.items()},
            "top1": None if self.top1 is None else vars(self.top1),
            "top5": None if self.top5 is None else vars(self.top5),
            "metric": None if self.metric is None else vars(self.metric),
        }
        if self.held_back is not None:
            held = self.held_back
            document["held_back"] = {"samples": held.samples, "sqnr_db": finite(held.sqnr_db)}
        return document


def evaluate(
    reference: ModelOrEngine,
    quantized: ModelOrEngine,
    batches: Batches,
    *,
    labels: npt.ArrayLike | None = None,
    output: str | None = None,
    metric: Metric | None = None,
) -> Evaluation:
    """Compare two models with the same inputs, onnxruntime's graph optimizations off for both.

    Either may be an engine (``.engine``, ``.plan``, ``.trt``), which runs on the GPU of this machine.

    Examples:
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
        metric: ``metric(outputs of all samples, labels)`` → a number, higher is better. It may take the
            outputs of ``reference`` as a third argument. Outputs of all samples are then kept in memory.

    Raises:
        ModelError: a model cannot be read or run, or the two have different outputs.
        DataError: a batch does not fit, or labels are not one class index per sample.
    """
    sessions, specs, record = _open(reference, quantized)
    gathered = _Rows(() if record is None else record.held_back, specs)
    require_batches(batches, specs)
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
    scores_of: list[list[Array]] = []
    kept: list[list[list[Array]]] = []
    samples = 0
    for number, batch, results in run_side_by_side(sessions, checked(batches, specs), names):
        for name, x, y in zip(names, *results, strict=True):
            if x.shape != y.shape:
                raise ModelError(
                    f"output {name!r} is {list(x.shape)} in one model and {list(y.shape)} in the other"
                )
            for which, values in (("first", x), ("second", y)):
                if np.isnan(values).any():
                    raise ModelError(f"batch {number}: output {name!r} of the {which} model has NaN")
            differences[name].add(x, y)
        gathered.add(batch, samples)
        samples += count_samples([batch], specs)
        if labels is not None:
            scores = [result[names.index(scored)] for result in results]
            if scores[0].ndim < 2:
                raise ModelError(
                    f"output {scored!r} has shape {list(scores[0].shape)}, not [samples, classes]; choose "
                    "the output with the class scores (output=)"
                )
            scores_of.append([score.reshape(len(score), -1) for score in scores])
        if metric is not None:
            kept.append(results)
    outputs = {name: OutputDifference(d.sqnr_db, d.cosine, d.max_abs) for name, d in differences.items()}
    right = None
    top = {}
    if labels is not None:
        tables = [np.concatenate(parts) for parts in zip(*scores_of, strict=True)]
        right = _right_classes(labels, len(tables[0]), tables[0].shape[1])
        top = {k: _top(scored, tables, right, k) for k in (1, 5) if k == 1 or tables[0].shape[1] > 5}
    values = None if metric is None else _measure(metric, names, kept, right)
    held_back = None if record is None else _held_back(record, gathered, sessions, names)
    return Evaluation(samples, outputs, top.get(1), top.get(5), values, held_back)


class _Rows:
    """Collects the samples of some [start, stop) ranges from a stream of batches."""

    def __init__(self, ranges: Sequence[tuple[int, int]], specs: Mapping[str, InputSpec]) -> None:
        self.specs = specs
        self._parts: dict[tuple[int, int], list[Batch]] = {each: [] for each in ranges}

    def add(self, batch: Batch, position: int) -> None:
        """Copy the wanted samples of ``batch``, whose first sample has the number ``position``."""
        size = count_samples([batch], self.specs)
        for (start, stop), parts in self._parts.items():
            rows = slice(max(start - position, 0), stop - position)
            if rows.start >= size or rows.stop <= 0:
                continue
            if rows.start == 0 and rows.stop >= size:
                parts.append({name: array.copy() for name, array in batch.items()})
            elif all(array.ndim and len(array) == size for array in batch.values()):
                parts.append({name: array[rows].copy() for name, array in batch.items()})

    def batches(self) -> list[Batch]:
        """Return one batch per range; an empty list if a sample is missing."""
        counts = {each: count_samples(parts, self.specs) for each, parts in self._parts.items()}
        if any(count != stop - start for (start, stop), count in counts.items()):
            return []
        return [
            {
                name: np.concatenate([part[name] for part in parts]) if len(parts) > 1 else array
                for name, array in parts[0].items()
            }
            for parts in self._parts.values()
        ]


def _held_back(
    record: QuantizationRecord, gathered: _Rows, sessions: Sequence[Runner], names: Sequence[str]
) -> HeldBack | None:
    """Measure SQNR on the samples of the record again; None if these are other samples."""
    batches = gathered.batches()
    digest = DataDigest()
    for batch in batches:
        digest.add(batch)
    if not batches or digest.hexdigest() != record.data:
        return None
    pairs = [(values[0], values[1]) for _, _, values in run_side_by_side(sessions, batches, names)]
    sqnr_db = compared(pairs, names).sqnr_db(names)
    return HeldBack(count_samples(batches, gathered.specs), sqnr_db, record.unseen)


def _open(
    reference: ModelOrEngine, quantized: ModelOrEngine
) -> tuple[tuple[Runner, Runner], Mapping[str, InputSpec], QuantizationRecord | None]:
    models = [None if is_engine(m) else load_model(m) for m in (reference, quantized)]
    first, second = (
        EngineSession(m) if loaded is None else Session(loaded, optimize=False)
        for m, loaded in zip((reference, quantized), models, strict=True)
    )
    record = None if models[1] is None else read_record(models[1])
    known = models[0] or models[1]
    if known is not None:
        return (first, second), input_specs(known), record
    assert isinstance(first, EngineSession)
    return (first, second), first.specs, record


def _measure(
    metric: Metric, names: list[str], kept: list[list[list[Array]]], labels: npt.NDArray[np.int64] | None
) -> MetricValues:
    reference, quantized = (
        {
            name: np.concatenate([np.atleast_1d(results[which][i]) for results in kept])
            for i, name in enumerate(names)
        }
        for which in (0, 1)
    )
    return MetricValues(
        *(measure(metric, outputs, labels, reference=reference) for outputs in (reference, quantized))
    )


def _top(output: str, scores: list[Array], right: npt.NDArray[np.int64], k: int) -> Top1:
    """Return top-k accuracy; the models agree on a sample if the sets of their k best classes are equal."""
    best = [topk(table, k) for table in scores]
    hits = [float((table == right[:, None]).any(axis=1).mean()) for table in best]
    same = (np.sort(best[0], axis=1) == np.sort(best[1], axis=1)).all(axis=1)
    return Top1(output, reference=hits[0], quantized=hits[1], agreement=float(same.mean()))


def _right_classes(labels: npt.ArrayLike, samples: int, classes: int) -> npt.NDArray[np.int64]:
    right = np.asarray(labels)
    if not (right.ndim == 1 or (right.ndim == 2 and right.shape[1] == 1)):
        raise DataError(
            f"labels have shape {list(right.shape)}; give one class index per sample, [n] (for one-hot "
            "labels: .argmax(1))"
        )
    if not np.issubdtype(right.dtype, np.integer):
        raise DataError(f"labels are {right.dtype}; give the class of each sample as an integer")
    if len(right) != samples:
        raise DataError(f"there are {len(right)} labels but {samples} samples; give one label per sample")
    if not (right.min() >= 0 and right.max() < classes):
        raise DataError(
            f"labels are between {right.min()} and {right.max()}, but the model has classes 0 to "
            f"{classes - 1}"
        )
    return right.reshape(-1).astype(np.int64)

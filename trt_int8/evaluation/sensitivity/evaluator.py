"""Evaluate quantized models against the float model, on data kept in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from trt_int8.batches.check import count_samples
from trt_int8.batches.items import Batches
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation.comparer import Array, Comparer
from trt_int8.evaluation.metrics import Metric, measure, topk
from trt_int8.record import nan_as_worst


@dataclass(frozen=True)
class Score:
    """The accuracy of a quantized model.

    Attributes:
        sqnr_db: of the worst output, over all the data; -inf if an output has NaN.
        drop: drop of the metric (see `Evaluator`); NaN without one. The larger of the drops on the even and
            on the odd batches: a plan that meets a limit on both is more likely to meet it on other data.
    """

    sqnr_db: float
    drop: float = math.nan


class Evaluator:
    """Runs the float model once, and evaluates quantized forms of it.

    Args:
        model: the float model.
        batches: the data; kept in memory.
        labels: the right class of each sample; the metric is then top-1 on ``output``.
        metric: the user's own metric, higher is better, see `trt_int8.evaluation.metrics.measure`; it is used
            instead of top-1.
        output: the output that holds class scores; None takes the first.

    Raises:
        DataError: there is no data, or labels do not fit it.
        ModelError: onnxruntime cannot run the model.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        batches: Batches,
        *,
        labels: Array | None = None,
        metric: Metric | None = None,
        output: str | None = None,
    ) -> None:
        self._comparer = Comparer(model, batches)
        names = self._comparer.names
        self._output = output or names[0]
        if self._output not in names:
            raise ModelError(f"the model has no output {self._output!r}; its outputs are {', '.join(names)}")
        self._metric = metric
        self._labels = None if labels is None else np.asarray(labels).reshape(-1)
        scores = [outputs[names.index(self._output)] for outputs in self._comparer.reference]
        self._ends = np.cumsum([0, *(len(array) if array.ndim else 1 for array in scores)])
        if self._labels is not None and len(self._labels) != self._ends[-1]:
            raise DataError(
                f"there are {len(self._labels)} labels but {self._ends[-1]} samples; "
                "give one label per sample"
            )
        wanted = self._comparer.reference
        self._halves = [list(range(i, len(wanted), 2)) for i in (0, 1) if i < len(wanted)]
        self._values = [self._value(wanted, half) for half in self._halves]

    @property
    def has_metric(self) -> bool:
        """Whether there is a metric, or top-1, in addition to SQNR."""
        return self._metric is not None or self._labels is not None

    def fingerprint(self) -> str:
        """Return a hash of the data, the labels and the metric's values for the float model."""
        digest = hashlib.sha256()
        for batch in self._comparer.batches:
            for name in sorted(batch):
                digest.update(f"{name}{batch[name].dtype}{batch[name].shape}".encode())
                digest.update(np.ascontiguousarray(batch[name]).tobytes())
        if self._labels is not None:
            digest.update(self._labels.tobytes())
        digest.update(f"{self._output}{self._values}".encode())
        return digest.hexdigest()

    @property
    def samples(self) -> int:
        """Number of samples."""
        return count_samples(self._comparer.batches, self._comparer.specs)

    def __call__(self, quantized: onnx.ModelProto) -> Score:
        """Run ``quantized`` on the data; ModelError if onnxruntime cannot run it."""
        found = self._comparer.run(quantized)
        sqnr = min(map(nan_as_worst, self._comparer.compare(found).sqnr_db(self._comparer.names).values()))
        if not self.has_metric:
            return Score(sqnr)
        pairs = zip(self._halves, self._values, strict=True)
        return Score(sqnr, max(before - self._value(found, half) for half, before in pairs))

    def _value(self, outputs: Sequence[Sequence[Array]], half: list[int]) -> float:
        """Return the metric, or top-1, on the batches of ``half``; 0 without either."""
        if not self.has_metric:
            return 0.0
        labels, chosen = self._labels, None
        if labels is not None:
            chosen = np.concatenate([labels[self._ends[i] : self._ends[i + 1]] for i in half])
        if self._metric is not None:
            joined, reference = (
                {
                    name: np.concatenate([np.atleast_1d(values[i][place]) for i in half])
                    for place, name in enumerate(self._comparer.names)
                }
                for values in (outputs, self._comparer.reference)
            )
            return measure(self._metric, joined, chosen, reference=reference)
        place = self._comparer.names.index(self._output)
        scores = np.concatenate([outputs[i][place] for i in half])
        best = topk(scores.reshape(len(scores), -1), 1)[:, 0]
        return float((best == chosen).mean())

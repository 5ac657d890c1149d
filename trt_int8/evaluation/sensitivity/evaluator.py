"""What a quantized model loses against the float one, on data kept in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import count_samples
from trt_int8.batches.items import Batches
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation.comparer import Comparer
from trt_int8.evaluation.metrics import Metric, topk


@dataclass(frozen=True)
class Score:
    """A quantized model against the float one.

    Attributes:
        sqnr_db: of the worst output, over all the data.
        drop: how much the figure falls (see `Evaluator`); NaN without one. The larger of the drops on the
            even and on the odd batches: what only one half of the data bears out is no basis for a choice.
    """

    sqnr_db: float
    drop: float = math.nan


class Evaluator:
    """Runs the float model once, and any quantized form of it as often as it is called.

    Args:
        model: the float model.
        batches: the data; kept in memory.
        labels: the right class of each sample: the figure is then top-1 on ``output``.
        metric: the user's own figure, higher is better; it goes before labels.
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
        labels: npt.NDArray[np.generic] | None = None,
        metric: Metric | None = None,
        output: str | None = None,
    ) -> None:
        self._comparer = Comparer(model, batches)
        names = self._comparer.names
        self._output = output or names[0]
        if self._output not in names:
            raise ModelError(f"output {self._output!r} is none of the model's: {', '.join(names)}")
        self._metric = metric
        self._labels = None if labels is None else np.asarray(labels).reshape(-1)
        scores = [outputs[names.index(self._output)] for outputs in self._comparer.reference]
        self._ends = np.cumsum([0, *(len(array) if array.ndim else 1 for array in scores)])
        if self._labels is not None and len(self._labels) != self._ends[-1]:
            raise DataError(
                f"there are {len(self._labels)} labels for {self._ends[-1]} samples; give one a sample"
            )
        wanted = self._comparer.reference
        self._halves = [list(range(i, len(wanted), 2)) for i in (0, 1) if i < len(wanted)]
        self._figures = [self._figure(wanted, half) for half in self._halves]

    @property
    def has_figure(self) -> bool:
        """Whether there is more to judge by than SQNR."""
        return self._metric is not None or self._labels is not None

    def fingerprint(self) -> str:
        """Of the data and the labels."""
        digest = hashlib.sha256()
        for batch in self._comparer.batches:
            for name in sorted(batch):
                digest.update(f"{name}{batch[name].dtype}{batch[name].shape}".encode())
                digest.update(np.ascontiguousarray(batch[name]).tobytes())
        if self._labels is not None:
            digest.update(self._labels.tobytes())
        digest.update(f"{self._output}{self._figures}".encode())
        return digest.hexdigest()

    @property
    def samples(self) -> int:
        """How many samples it judges by."""
        return count_samples(self._comparer.batches)

    def __call__(self, quantized: onnx.ModelProto) -> Score:
        """Run ``quantized`` over the data.

        Raises:
            ModelError: onnxruntime cannot run it.
        """
        found = self._comparer.run(quantized)
        sqnr = min(self._comparer.compare(found).sqnr_db(self._comparer.names).values())
        if not self.has_figure:
            return Score(sqnr)
        drops = [
            before - self._figure(found, half)
            for half, before in zip(self._halves, self._figures, strict=True)
        ]
        return Score(sqnr, max(drops))

    def _figure(self, outputs: Sequence[Sequence[npt.NDArray[np.generic]]], half: list[int]) -> float:
        """The metric, or top-1, on the batches of ``half``; 0 without either."""
        if not self.has_figure:
            return 0.0
        labels = self._labels
        chosen = (
            None
            if labels is None
            else np.concatenate([labels[self._ends[i] : self._ends[i + 1]] for i in half])
        )
        if self._metric is not None:
            joined = {
                name: np.concatenate([np.atleast_1d(outputs[i][place]) for i in half])
                for place, name in enumerate(self._comparer.names)
            }
            return self._metric(joined, chosen)
        place = self._comparer.names.index(self._output)
        scores = np.concatenate([outputs[i][place] for i in half])
        best = topk(scores.reshape(len(scores), -1), 1)[:, 0]
        return float((best == chosen).mean())

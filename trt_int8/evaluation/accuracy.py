"""Evaluate a quantized model on held-back samples, and decide whether a correction is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from trt_int8.batches.check import Batch, CheckedBatches
from trt_int8.evaluation.comparer import Comparer, float_outputs
from trt_int8.graph.index import GraphIndex
from trt_int8.graph.model import Model
from trt_int8.graph.operators import SATURATING, VIEWS
from trt_int8.record import decibels, nan_as_worst

#: Smallest change of SQNR that counts, in dB; a smaller one is noise of the measurement.
NOISE_DB = 0.1


@dataclass(frozen=True)
class Accuracy:
    """SQNR of a quantized model.

    Attributes:
        outputs: float output → SQNR over all samples together in dB, as `trt_int8.evaluate` gives it.
        evaluated: tensor of `evaluated_tensors` → SQNR in dB, the mean over the batches. A `Decision` uses
            these.
    """

    outputs: Mapping[str, float]
    evaluated: Mapping[str, float]


class AccuracyCheck:
    """Runs the float model on held-back batches once, and compares quantized forms of it; see `Comparer`."""

    def __init__(self, model: onnx.ModelProto | Model, batches: Sequence[Batch]) -> None:
        known = Model.unchecked(model)
        self._outputs = float_outputs(known.proto)
        self._evaluated = evaluated_tensors(known, self._outputs)
        tensors = tuple(dict.fromkeys([*self._outputs, *self._evaluated]))
        self._comparer = Comparer(known.proto, CheckedBatches(batches), tensors=tensors)

    @property
    def note(self) -> str:
        """Names the outputs whose values in the float model have NaN, so that SQNR is not defined."""
        columns = zip(self._comparer.names, zip(*self._comparer.reference, strict=True), strict=True)
        found = [n for n, values in columns if n in self._outputs and any(np.isnan(v).any() for v in values)]
        return f"the float model has NaN in output {', '.join(map(repr, found))}" if found else ""

    def __call__(self, quantized: onnx.ModelProto) -> Accuracy:
        """Return the accuracy of ``quantized``; see `Comparer` for errors."""
        found = self._comparer(quantized)
        return Accuracy(found.sqnr_db(self._outputs), found.mean_sqnr_db(self._evaluated))


def evaluated_tensors(model: Model, outputs: Sequence[str]) -> tuple[str, ...]:
    """Return ``outputs``, with the input of the Softmax or Sigmoid in place of an output of one."""
    return tuple(dict.fromkeys(_before_saturation(name, model.index) for name in outputs))


def _before_saturation(output: str, index: GraphIndex) -> str:
    name = output
    while name in index.producers:
        node = index.producers[name]
        if node.op_type in SATURATING:
            return str(node.input[0])
        if node.op_type not in VIEWS:
            break
        name = node.input[0]
    return output


@dataclass(frozen=True, eq=False)
class Decision:
    """The decision whether a correction is kept.

    Attributes:
        accuracy: with the correction.
        highest: for each evaluated tensor, its highest SQNR with any set of corrections that was kept. Losses
            are measured from there, so that small losses do not add up.
        kept: an evaluated tensor gained `NOISE_DB` or more, and none lost that much.
            A tensor without SQNR (NaN) decides nothing; to become NaN is a loss.
        text: gain of each evaluated tensor, the largest first, for people.
    """

    accuracy: Accuracy
    highest: Mapping[str, float]
    kept: bool = True
    text: str = ""

    @classmethod
    def start(cls, accuracy: Accuracy) -> Decision:
        """Return the start of a series of decisions: a model without corrections."""
        return cls(accuracy, accuracy.evaluated)

    def decide(self, accuracy: Accuracy) -> Decision:
        """Decide on one more correction, with which the accuracy is ``accuracy``."""
        before = {name: db for name, db in self.accuracy.evaluated.items() if not math.isnan(db)}
        after = {name: nan_as_worst(accuracy.evaluated[name]) for name in before}
        gains = {name: value - before[name] for name, value in after.items()}
        losses = {name: self.highest[name] - value for name, value in after.items()}
        kept = max(gains.values(), default=0) >= NOISE_DB and max(losses.values(), default=0) < NOISE_DB
        order = sorted(gains, key=lambda name: -gains[name])
        text = (
            ", ".join(f"{name} {decibels(gains[name], form='+.2f')}" for name in order)
            or "SQNR is not defined"
        )
        if not kept:
            text += ", so it was not kept"
        highest = {name: max(value, self.highest[name]) for name, value in after.items()}
        return Decision(accuracy, highest, kept, text)

"""Judge a quantized model on held-back samples: the figure to show, and whether a correction is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from trt_int8.batches.check import Batch, CheckedBatches
from trt_int8.evaluation.comparer import Comparer, float_outputs
from trt_int8.graph.index import GraphIndex
from trt_int8.graph.model import Model
from trt_int8.graph.operators import SATURATING, VIEWS

#: By how much SQNR must change to have changed, in dB: less is the noise of the measurement.
NOISE_DB = 0.1


@dataclass(frozen=True)
class Accuracy:
    """What one form of a model loses against the float model.

    Attributes:
        outputs: float output → SQNR over all samples together in dB, as `trt_int8.evaluate` gives it.
        judged: tensor of `judged_tensors` → SQNR in dB, the mean over the batches. Choices are made by these.
    """

    outputs: Mapping[str, float]
    judged: Mapping[str, float]


class AccuracyCheck:
    """Runs the float model once, and any quantized form of it as often as it is called.

    Args:
        model: the float model.
        batches: checked batches that nothing was made from; they stay in memory.

    Raises:
        DataError: there is no data.
        ModelError: onnxruntime cannot run the model, or it has no float output.
    """

    def __init__(self, model: onnx.ModelProto | Model, batches: Sequence[Batch]) -> None:
        known = Model.unchecked(model)
        self._outputs = float_outputs(known.proto)
        self._judged = judged_tensors(known, self._outputs)
        tensors = tuple(dict.fromkeys([*self._outputs, *self._judged]))
        self._comparer = Comparer(known.proto, CheckedBatches(batches), tensors=tensors)

    def __call__(self, quantized: onnx.ModelProto) -> Accuracy:
        """The accuracy of ``quantized``.

        Raises:
            ModelError: onnxruntime cannot run it, or the shape of a tensor depends on values.
        """
        found = self._comparer(quantized)
        return Accuracy(found.sqnr_db(self._outputs), found.mean_sqnr_db(self._judged))


def judged_tensors(model: Model, outputs: Sequence[str]) -> tuple[str, ...]:
    """``outputs``; in place of one behind Softmax or Sigmoid, the tensor that this reads."""
    index = model.index
    return tuple(dict.fromkeys(_before_saturation(name, index) for name in outputs))


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
class Verdict:
    """What a correction did.

    Attributes:
        accuracy: with the correction.
        highest: of each judged tensor, the most that it had with any set of corrections that was kept. What
            is lost is measured from there, so that small losses do not add up.
        kept: a judged tensor gained `NOISE_DB` or more, and none lost so much.
        text: gain at each judged tensor, the largest first, for people.
    """

    accuracy: Accuracy
    highest: Mapping[str, float]
    kept: bool = True
    text: str = ""

    @classmethod
    def start(cls, accuracy: Accuracy) -> Verdict:
        """The verdict on a model without corrections."""
        return cls(accuracy, accuracy.judged)

    def judge(self, accuracy: Accuracy) -> Verdict:
        """The verdict on one more correction, with which the accuracy is ``accuracy``."""
        gains = {name: value - self.accuracy.judged[name] for name, value in accuracy.judged.items()}
        losses = {name: self.highest[name] - value for name, value in accuracy.judged.items()}
        kept = max(gains.values()) >= NOISE_DB and max(losses.values()) < NOISE_DB
        order = sorted(gains, key=lambda name: -gains[name])
        text = ", ".join(f"{name} {gains[name]:+.2f} dB" for name in order)
        if not kept:
            text += ", so it was not kept"
        highest = {name: max(value, self.highest[name]) for name, value in accuracy.judged.items()}
        return Verdict(accuracy, highest, kept, text)

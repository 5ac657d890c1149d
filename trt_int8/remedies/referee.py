"""What remedies are judged by: SQNR of the outputs, each batch counting alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.batches.check import Batch, checked
from trt_int8.errors import ModelError
from trt_int8.evaluation.layers import showing
from trt_int8.evaluation.metrics import Difference
from trt_int8.model.graph import GraphIndex
from trt_int8.model.inputs import input_specs
from trt_int8.runtime import Session

#: Operators that saturate: behind them, one undecided sample has all of the error.
_SATURATING = ("Softmax", "LogSoftmax", "Sigmoid")
_PASSING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
#: An SQNR that float32 cannot tell from none.
_EXACT_DB = 150.0

Arrays = Sequence[npt.NDArray[np.generic]]


class Referee:
    """Runs the float model once, and any quantized form of it as often as it is called.

    Args:
        model: the float model.
        batches: data that nothing was fitted to; kept in memory.

    Raises:
        DataError: there is no data, or it does not fit the model.
        ModelError: onnxruntime cannot run the model, or it has no float output.
    """

    def __init__(self, model: onnx.ModelProto, batches: Sequence[Batch]) -> None:
        self._batches = list(checked(batches, input_specs(model)))
        self._names = judged_tensors(model)
        self._wanted = self._run(model)

    def __call__(self, quantized: onnx.ModelProto) -> dict[str, float]:
        """SQNR of each of `judged_tensors` in dB: the mean over the batches, infinite ones cut to 150 dB.

        Over all the data at once, the sample with the largest error would decide.

        Raises:
            ModelError: onnxruntime cannot run ``quantized``, or a tensor's shape depends on values.
        """
        sqnr = np.zeros((len(self._batches), len(self._names)))
        for row, wanted, found in zip(sqnr, self._wanted, self._run(quantized), strict=True):
            for i, (x, y) in enumerate(zip(wanted, found, strict=True)):
                if x.shape != y.shape:
                    raise ModelError(
                        f"the shape of {self._names[i]!r} depends on values: {list(x.shape)} in the float "
                        f"model, {list(y.shape)} quantized, so the two cannot be compared"
                    )
                difference = Difference()
                difference.add(x, y)
                row[i] = np.clip(difference.sqnr_db, -_EXACT_DB, _EXACT_DB)
        return dict(zip(self._names, sqnr.mean(axis=0).tolist(), strict=True))

    def _run(self, model: onnx.ModelProto) -> list[Arrays]:
        session = Session(showing(model, self._names), optimize=False)
        return [session.run(b, self._names, place=f"batch {i}") for i, b in enumerate(self._batches)]


def judged_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The float outputs of ``model``; in place of one behind Softmax or Sigmoid, what that reads.

    Raises:
        ModelError: there is no float output.
    """
    index = GraphIndex(model)
    outputs = Session(model, optimize=False).float_outputs
    if not outputs:
        raise ModelError("the model has no float output to compare")
    return tuple(dict.fromkeys(_before_saturation(name, index) for name in outputs))


def _before_saturation(output: str, index: GraphIndex) -> str:
    name = output
    while name in index.producers:
        node = index.producers[name]
        if node.op_type in _SATURATING:
            return str(node.input[0])
        if node.op_type not in _PASSING:
            break
        name = node.input[0]
    return output

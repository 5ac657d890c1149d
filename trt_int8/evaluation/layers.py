"""Follow SQNR through the network, to find where a quantized model deviates from the float model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.errors import ModelError
from trt_int8.evaluation.comparer import run_side_by_side
from trt_int8.evaluation.metrics import Difference
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.inputs import input_specs
from trt_int8.graph.passes.subgraph import with_outputs
from trt_int8.graph.runtime import Session


@dataclass(frozen=True)
class LayerDifference:
    """One tensor that both models compute.

    Attributes:
        tensor, node: the tensor, and the node of the float model that computes it.
        op_type: the node's operator.
        sqnr_db: of the tensor in the second model, inf if equal.
        drop_db: how much lower that is than the worst of the node's inputs; 0 if it is higher, or if the
            inputs are exact (then the loss begins here, and its size is ``sqnr_db``).
        begins: the node's inputs are exact, its output is not.
    """

    tensor: str
    node: str
    op_type: str
    sqnr_db: float
    drop_db: float
    begins: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the content for JSON; infinite values become null."""
        infinite = (math.inf, -math.inf)
        return {key: None if value in infinite else value for key, value in vars(self).items()}


def compare_layers(
    reference: onnx.ModelProto, quantized: onnx.ModelProto, batches: Batches
) -> tuple[LayerDifference, ...]:
    """Return SQNR of every float tensor that both models have by the same name, in graph order.

    Raises:
        ModelError: a model cannot be run, or they share no tensor.
        DataError: a batch does not fit.
    """
    index, other = GraphIndex(reference), GraphIndex(quantized)
    names = [name for name in index.order if name in other.producers and name in index.producers]
    sessions = [Session(with_outputs(model, names), optimize=False) for model in (reference, quantized)]
    names = [name for name in names if all(name in session.float_outputs for session in sessions)]
    if not names:
        raise ModelError("the models share no tensor; compare a model with its own quantized form")
    found = {name: Difference() for name in names}
    checked_batches = checked(batches, input_specs(reference))
    for _, _, values in run_side_by_side(sessions, checked_batches, names):
        for name, x, y in zip(names, *values, strict=True):
            found[name].add(x, y)
    sqnr = {name: difference.sqnr_db for name, difference in found.items()}
    return tuple(_layer(name, index, sqnr) for name in names)


def _layer(name: str, index: GraphIndex, sqnr: dict[str, float]) -> LayerDifference:
    node = index.producers[name]
    before = min((sqnr.get(source, math.inf) for source in node.input), default=math.inf)
    begins = before == math.inf and sqnr[name] < math.inf
    drop = 0.0 if before == math.inf else max(before - sqnr[name], 0.0)
    return LayerDifference(name, label(node), node.op_type, sqnr[name], drop, begins)

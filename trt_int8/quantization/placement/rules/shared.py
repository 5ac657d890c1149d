"""Rules for operators that do not multiply: they share scales and pairs with those that multiply."""

from __future__ import annotations

import onnx

from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.operators import AVERAGE_POOLS, CONVOLUTIONS, PASSING
from trt_int8.quantization.placement.draft import Draft
from trt_int8.quantization.placement.rule import RTX, TENSORRT, rule
from trt_int8.ranges.ranges import TensorRange

#: Softmax outputs below this keep their calibrated range: [0, 1] would leave them less than 16 of 127 steps.
SPREAD = 1 / 8


@rule("concat-scales", 200, "guide; measured: one float copy less.")
def concat(draft: Draft) -> None:
    """Give the inputs and the output of a Concat one scale; Concats that are connected share it."""
    for node in draft.nodes:
        if node.op_type == "Concat":
            for name in node.input:
                if not draft.index.is_constant(name):
                    draft.join(name, node.output[0])


@rule("max-pool-scales", 210, "guide: Q moves backward and DQ forward over them; measured.")
def passing(draft: Draft) -> None:
    """Give the input and the output of max-pool, and of operators that only move values, one scale."""
    for node in draft.nodes:
        if node.op_type in PASSING and node.input and not draft.index.is_constant(node.input[0]):
            draft.join(node.input[0], node.output[0])


@rule(
    "softmax-range", 220, "Its values by definition; entropy calibration clips the few large ones (measured)."
)
def softmax(draft: Draft) -> None:
    """Give a Softmax before a MatMul the range [0, 1], unless its calibrated range is below 1/8.

    The MatMul may follow directly or behind operators that only move values. Where all values are small
    (attention spread over many tokens), [0, 1] would leave them few INT8 values or none. Figures:
    docs/placement.md.
    """
    for node in draft.nodes:
        if node.op_type != "Softmax":
            continue
        reached = _moved(node.output[0], draft)
        if not any(
            u.node.op_type == "MatMul" for name in reached for u in draft.index.consumers.get(name, ())
        ):
            continue
        calibrated = draft.ranges.get(node.output[0])
        if calibrated is not None and 0 < calibrated.amax < SPREAD:
            draft.notes.append(
                f"{label(node)}: its largest value is {calibrated.amax:.3g}, too small for the range [0, 1]; "
                "the calibrated range is used"
            )
        else:
            draft.fixed.update(dict.fromkeys(reached, TensorRange(1.0, source="values of Softmax")))


def _moved(tensor: str, draft: Draft) -> list[str]:
    """Return ``tensor`` and the tensors that hold the same values, moved."""
    names = [tensor]
    for name in names:
        for use in draft.index.consumers.get(name, ()):
            if use.node.op_type in PASSING and use.slot == 0:
                names.append(use.node.output[0])
    return names


@rule("residual-add", 400, "guide: the sum then fuses into the convolution.", only=TENSORRT)
def residual_add(draft: Draft) -> None:
    """Quantize the residual input of an Add behind a convolution."""
    positions = {node.output[0]: i for i, node in enumerate(draft.nodes)}
    for node in draft.nodes:
        if node.op_type != "Add" or node.input[0] == node.input[1]:
            continue
        fusing = {
            slot: positions[producer.output[0]]
            for slot in (0, 1)
            if (producer := _convolution_behind(node.input[slot], draft.index)) is not None
            and producer.output[0] in draft.sites
        }
        if fusing:
            # Of two convolutions the later one fuses: the other's result must be there by then.
            fused = max(fusing, key=lambda slot: fusing[slot])
            draft.quantize(node, (1 - fused,))


@rule(
    "weightless",
    410,
    "guide: layers without weights run in INT8 only with pairs on inputs and output.",
    only=TENSORRT,
)
def weightless(draft: Draft) -> None:
    """Quantize all inputs of an AveragePool or Add whose output is quantized."""
    # From the last node to the first: the consumers of a node are decided before the node.
    for node in reversed(draft.nodes):
        if node.output[0] in draft.sites or not _output_is_quantized(node, draft):
            continue
        if node.op_type in AVERAGE_POOLS:
            draft.quantize(node, (0,))
        elif node.op_type == "Add":
            draft.quantize(node, (0, 1))


@rule("reuse", 420, "measured: one float copy less; any other pair before an Add changes nothing.", only=RTX)
def reuse(draft: Draft) -> None:
    """Let an Add read the pair of a tensor that is quantized for another consumer."""
    for node in draft.nodes:
        if node.op_type == "Add":
            slots = tuple(slot for slot in (0, 1) if node.input[slot] in draft.quantized)
            if slots:
                draft.quantize(node, slots)


def _output_is_quantized(node: onnx.NodeProto, draft: Draft) -> bool:
    """Return whether all consumers of the output, also behind moves, read it through a pair."""
    pending, readers = [node.output[0]], 0
    for name in pending:
        if name in draft.index.outputs or name in draft.index.used_in_bodies:
            return False
        for use in draft.index.consumers.get(name, ()):
            if draft.has_pair(use):
                readers += 1
            elif use.node.op_type in PASSING and use.slot == 0:
                pending.append(use.node.output[0])
            else:
                return False
    return readers > 0


def _convolution_behind(tensor: str, index: GraphIndex) -> onnx.NodeProto | None:
    """Return the convolution before ``tensor``, or before its batch norm, if there is one consumer only."""
    while True:
        producer = index.producers.get(tensor)
        if producer is None or len(index.consumers.get(tensor, [])) != 1 or tensor in index.outputs:
            return None
        if producer.op_type in CONVOLUTIONS:
            return producer
        if producer.op_type != "BatchNormalization":
            return None
        tensor = producer.input[0]

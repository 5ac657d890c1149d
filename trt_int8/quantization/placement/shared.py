"""Rules for operators that do not multiply: they share scales and pairs with those that do."""

from __future__ import annotations

import onnx

from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.operators import AVERAGE_POOLS, CONVOLUTIONS, PASSING
from trt_int8.quantization.placement.draft import Draft
from trt_int8.ranges.ranges import TensorRange

#: Softmax values below this keep their calibrated range: [0, 1] would leave them less than 16 of 127 codes.
SPREAD = 1 / 8


def concat(draft: Draft) -> None:
    """One scale for the inputs and the output of Concat: INT8 values are copied as they are."""
    for node in draft.nodes:
        if node.op_type == "Concat":
            for name in node.input:
                if not draft.index.is_constant(name):
                    draft.join(name, node.output[0])


def passing(draft: Draft) -> None:
    """One scale before and behind an operator that only moves values."""
    for node in draft.nodes:
        if node.op_type in PASSING and node.input and not draft.index.is_constant(node.input[0]):
            draft.join(node.input[0], node.output[0])


def softmax(draft: Draft) -> None:
    """[0, 1] for a Softmax that reaches a MatMul, directly or through operators that only move values.

    Where calibration saw small values only (attention spread over many tokens), [0, 1] would leave them a few
    codes or none: the calibrated range stays. docs/placement.md has the figures.
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
                f"{label(node)}: its values reach {calibrated.amax:.3g}, too little for the range [0, 1]; "
                "the calibrated one is used"
            )
        else:
            draft.fixed.update(dict.fromkeys(reached, TensorRange(1.0, source="values of Softmax")))


def _moved(tensor: str, draft: Draft) -> list[str]:
    """``tensor`` and the tensors that hold nothing but its values."""
    names = [tensor]
    for name in names:
        for use in draft.index.consumers.get(name, ()):
            if use.node.op_type in PASSING and use.slot == 0:
                names.append(use.node.output[0])
    return names


def residual_add(draft: Draft) -> None:
    """The residual input of each Add, so that the sum fuses into the convolution behind the other."""
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


def weightless(draft: Draft) -> None:
    """AveragePool, and Add without a convolution behind it, between INT8 layers."""
    # From the last node to the first: what reads a node decides before the node itself.
    for node in reversed(draft.nodes):
        if node.output[0] in draft.sites or not _output_is_quantized(node, draft):
            continue
        if node.op_type in AVERAGE_POOLS:
            draft.quantize(node, (0,))
        elif node.op_type == "Add":
            draft.quantize(node, (0, 1))


def reuse(draft: Draft) -> None:
    """Inputs of Add that have a pair anyway."""
    for node in draft.nodes:
        if node.op_type == "Add":
            slots = tuple(slot for slot in (0, 1) if draft.quantized(node.input[slot]))
            if slots:
                draft.quantize(node, slots)


def _output_is_quantized(node: onnx.NodeProto, draft: Draft) -> bool:
    """Whether everything that reads the output, moved or not, reads it through a pair."""
    pending, readers = [node.output[0]], 0
    for name in pending:
        if name in draft.index.outputs or name in draft.index.used_in_bodies:
            return False
        for use in draft.index.consumers.get(name, ()):
            site = draft.sites.get(use.node.output[0])
            if site is not None and use.slot in site.activations:
                readers += 1
            elif use.node.op_type in PASSING and use.slot == 0:
                pending.append(use.node.output[0])
            else:
                return False
    return readers > 0


def _convolution_behind(tensor: str, index: GraphIndex) -> onnx.NodeProto | None:
    """The convolution that makes ``tensor``, directly or through a batch norm, for one reader only."""
    while True:
        producer = index.producers.get(tensor)
        if producer is None or len(index.consumers.get(tensor, [])) != 1 or tensor in index.outputs:
            return None
        if producer.op_type in CONVOLUTIONS:
            return producer
        if producer.op_type != "BatchNormalization":
            return None
        tensor = producer.input[0]

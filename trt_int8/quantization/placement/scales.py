"""Rules for the scales of activations."""

from __future__ import annotations

from trt_int8.model.graph import label
from trt_int8.model.operators import PASSING
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

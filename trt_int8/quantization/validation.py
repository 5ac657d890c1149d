"""Refuse models in which nothing can be quantized, and Q/DQ models that TensorRT would refuse."""

from __future__ import annotations

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import all_nodes, label
from trt_int8.graph.operators import MULTIPLYING
from trt_int8.quantization.check.check import CHECKS, findings, run_checker
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.placement import RULES, Placement, Rule
from trt_int8.quantization.placement.draft import Draft


def refuse_without_sites(draft: Draft, placement: Placement) -> None:
    """Check that the draft quantizes some node.

    Raises:
        QuantizationError: it quantizes none; the message says why.
    """
    if not draft.sites:
        if draft.skipped:
            raise QuantizationError(_all_skipped(draft))
        raise QuantizationError(f"no node can be quantized: {_none_wanted(draft, placement)}")


def _none_wanted(draft: Draft, placement: Placement) -> str:
    operators = f"{', '.join(MULTIPLYING[:-1])} or {MULTIPLYING[-1]}"
    everywhere = [node for node in all_nodes(draft.index.graph) if node.op_type in MULTIPLYING]
    if not everywhere:
        return f"the model has no {operators}"
    if not any(node.op_type in MULTIPLYING for node in draft.nodes):
        return f"the model has {operators} only in bodies of If, Loop and Scan, which stay float"
    for rule in RULES:
        if rule not in placement.rules and (wanted := _wanted_by(rule, draft, placement)):
            if placement.name in rule.placements:
                return f"without the rule {rule.name!r} {wanted} stays float; switch the rule on again"
            other = rule.placements[0]
            return (
                f"the model has only {wanted} to quantize, which placement {placement.name!r} leaves in "
                f"float ({rule.source.rstrip('.')}); use placement={other!r} if {_BUILDERS[other]} builds "
                "the engine"
            )
    return f"all operands of the {operators} nodes of the model are constant"


_BUILDERS = {"tensorrt": "TensorRT itself", "rtx": "TensorRT-RTX"}


def _wanted_by(rule: Rule, draft: Draft, placement: Placement) -> str:
    """Return the operators that would be quantized with ``rule``, too."""
    trial = Draft(draft.index, draft.opset, draft.ranges, draft.selection, draft.types)
    for each in RULES:
        if each is rule or each in placement.rules:
            each.apply(trial)
    named = {entry.node for entry in trial.skipped} | {label(site.node) for site in trial.sites.values()}
    return ", ".join(sorted({node.op_type for node in draft.nodes if label(node) in named}))


def _all_skipped(draft: Draft) -> str:
    tensors = {entry.tensor for entry in draft.skipped if entry.tensor}
    wanted = sorted(tensor for tensor in tensors if draft.constant(tensor) is None)
    if draft.ranges and wanted and not any(tensor in draft.ranges for tensor in wanted):
        return (
            f"none of the {len(wanted)} tensors to quantize has a range: the ranges belong to another model "
            f"(model: {', '.join(wanted[:5])}; ranges: {', '.join(list(draft.ranges)[:5])})"
        )
    return f"no node can be quantized: {'; '.join(map(str, draft.skipped[:10]))}"


def check_written(model: onnx.ModelProto, kind: str) -> None:
    """Run onnx.checker and our own checks over a model that was written here.

    Raises:
        QuantizationError: it does not pass.
    """
    run_checker(model, kind)
    refuse_what_tensorrt_refuses(model)


def refuse_what_tensorrt_refuses(model: onnx.ModelProto) -> None:
    """Check that TensorRT's parser takes a model that was written here.

    Raises:
        QuantizationError: a non-zero zero point, uint8, DQ on INT32, per-channel scales below opset 13, a
            scale of zero, an unused pair, …: a mistake in this package, to be reported.
    """
    ours = ("weight-axis", "unread-pair")
    strict = [check for check in CHECKS if check.severity == "refused" or check.name in ours]
    found = findings(QdqGraph(model), strict)
    if found:
        raise QuantizationError(
            "internal error: TensorRT would reject the quantized model; please report this: "
            + "; ".join(f"{finding.node}: {finding.message}" for finding in found[:3])
        )

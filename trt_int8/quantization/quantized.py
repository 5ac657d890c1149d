"""Make a Q/DQ model from a float model and ranges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.passes.batch_norm_folding import fold_batch_norms
from trt_int8.graph.passes.constant_folding import fold_constants
from trt_int8.graph.passes.opset_conversion import HALF, MINIMUM, with_minimum_opset
from trt_int8.graph.passes.split_before_transpose import split_before_transpose
from trt_int8.graph.tensors import ConstantOperands, tied_outputs
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.placement.draft import Draft, Skipped
from trt_int8.quantization.selection import Selection
from trt_int8.quantization.validation import check_written, refuse_without_sites
from trt_int8.quantization.writer import QdqWriter
from trt_int8.ranges.ranges import Ranges, TensorRange, require_ranges


@dataclass(frozen=True, eq=False)
class Quantized:
    """The result of `quantize`.

    Attributes:
        model: the Q/DQ model, checked.
        nodes: names of the quantized nodes.
        scales: activation tensor → the scale of its Q/DQ pair.
        skipped: nodes that a rule wanted to quantize and that stay float.
        placement: the placement whose rules were followed.
        notes: for people, such as bodies that stay float.
    """

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    scales: dict[str, np.float32]
    skipped: tuple[Skipped, ...]
    placement: str
    notes: tuple[str, ...] = ()


def quantize(
    model: ModelLike,
    ranges: Ranges,
    *,
    placement: str | Placement | None = None,
    selection: Selection | None = None,
) -> Quantized:
    """Insert Q/DQ pairs where TensorRT wants them, with the scales of ``ranges``.

    The rules are those of ``placement``; docs/placement.md lists them. Activations are quantized per tensor,
    weights from their own values; biases stay float. All names of the model stay, except tensors between a
    convolution and a BatchNormalization that is folded into it. A node stays float as a whole if one of its
    tensors has no usable range.

    Examples:
        >>> from trt_int8 import CalibrationCache
        >>> result = quantize("model.onnx", CalibrationCache.read("model.cache").ranges())
        >>> result.nodes
        ('conv1', 'conv2', 'ip1', 'ip2')
        >>> result.skipped
        ()

    Args:
        model: the trained float model; never changed.
        ranges: tensor → amax, from `trt_int8.calibrate` or `CalibrationCache.ranges`.
        placement: ``tensorrt``, ``rtx``, or one of them without some rules; None: the one for the default
            target of this machine.
        selection: the nodes that may be quantized; None: all that the rules ask for.

    Raises:
        ModelError: the model cannot be read, or an input is not a tensor of numbers.
        TypeError: ``ranges`` is not a `Ranges`.
        QuantizationError: the model holds Q/DQ nodes already, its opset cannot be raised, no node can be
            quantized, ``ranges`` has none of the tensors needed, or the selection does not match the model.
    """
    require_ranges(ranges)
    given = Model.of(model)
    if given.has_qdq:
        raise QuantizationError(
            "the model holds Q/DQ nodes already; build it as it is, or quantize the float model "
            "it was made from"
        )
    rules = resolve(placement)
    target, draft = drafted(given, ranges, rules, selection or Selection())
    scales = draft.scales()
    nodes = tuple(label(node) for node in draft.nodes if node.output[0] in draft.sites)
    _write(target, draft, scales)
    check_written(target, "Q/DQ")
    return Quantized(target, nodes, scales, tuple(draft.skipped), rules.text, tuple(draft.notes))


def drafted(
    model: Model, ranges: Ranges, placement: Placement, selection: Selection, *, copy: bool = True
) -> tuple[onnx.ModelProto, Draft]:
    """Return the model at an opset that has Q/DQ, and the draft that the rules make for it.

    Args:
        model, ranges, placement, selection: see `quantize`.
        copy: copy the model, even if its opset is high enough; the copy may be changed.

    Raises:
        ModelError: an input is not a tensor of numbers.
        QuantizationError: no node can be quantized, or the selection does not match the model.
    """
    if selection.plan is not None:
        selection.plan.require_placement(placement.text)
    list(model.inputs)  # raises for inputs that TensorRT cannot take
    minimum = HALF if model.holds_half else MINIMUM
    target = model
    if copy or model.opset < minimum:
        target = Model(with_minimum_opset(model.proto, minimum))
    draft = Draft(target.index, target.opset, ranges, selection, model.element_types)
    for rule in placement.rules:
        rule.apply(draft)
    refuse_without_sites(draft, placement)
    _check_plan(draft, placement)
    return target.proto, draft


def _write(model: onnx.ModelProto, draft: Draft, scales: dict[str, np.float32]) -> None:
    """Change ``model`` as its draft says."""
    # In graph order, as a pair goes in front of its first consumer; before folding, which renames outputs.
    sites = [draft.sites[node.output[0]] for node in draft.nodes if node.output[0] in draft.sites]
    index, constants = draft.index, draft.constants
    if fold_batch_norms(model, folds=draft.folds, index=index):
        index = GraphIndex(model)
        constants = ConstantOperands(index, draft.opset)
    writer = QdqWriter(model, draft.types, index=index)
    for site in sites:
        for slot in site.activations:
            writer.activation(site.node, slot, scales[site.node.input[slot]])
        for weight in site.weights:
            values = constants.value(site.node.input[weight.slot])
            assert values is not None
            writer.weight(site.node, weight.slot, weight.axis, values)
    writer.finish()
    split_before_transpose(model, splits=draft.splits)
    if draft.fold_small_constants:
        fold_constants(model)


def _check_plan(draft: Draft, placement: Placement) -> None:
    """Raise an error if a node that the plan wants in INT8 is not quantized."""
    if draft.selection.plan is None:
        return
    done = {label(site.node) for site in draft.sites.values()}
    why = {entry.node: entry.reason for entry in draft.skipped}
    for name, precision in draft.selection.plan.nodes.items():
        if precision == "int8" and name not in done:
            reason = why.get(name, f"no rule of placement {placement.name!r} quantizes it")
            raise QuantizationError(
                f"{draft.selection.plan.source}: node {name!r} cannot be int8: {reason}; make it float or "
                "remove its line"
            )


def required_tensors(
    model: ModelLike,
    *,
    placement: str | Placement | None = None,
    selection: Selection | None = None,
) -> tuple[str, ...]:
    """Return the activations whose ranges `quantize` reads, in graph order; only these need calibration.

    They are the tensors that get Q/DQ pairs if every tensor has a range, all that share a scale with them,
    and those whose range they take (`trt_int8.graph.tensors`). The arguments are those of `quantize`.

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: no node can be quantized, or the selection does not match the model.
    """
    given = Model.of(model)
    order = given.index.order
    everything = Ranges({name: TensorRange(1.0, source="any") for name in order})
    _, draft = drafted(given, everything, resolve(placement), selection or Selection(), copy=False)
    wanted = {name for tensor in draft.quantized for name in draft.group(tensor)}
    ties = tied_outputs(given.index, set(order))
    wanted |= {ties[name] for name in wanted if name in ties}
    return tuple(name for name in order if name in wanted)

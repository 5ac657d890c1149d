"""Float model and ranges in, Q/DQ model out.

`required_tensors` says beforehand which tensors need a range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.load import PROTOBUF_LIMIT, serialized_size
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.passes.batch_norm_folding import fold_batch_norms
from trt_int8.graph.passes.constant_folding import fold_constants
from trt_int8.graph.passes.opset_conversion import HALF, MINIMUM, with_minimum_opset
from trt_int8.graph.passes.split_before_transpose import split_before_transpose
from trt_int8.graph.tensors import ConstantOperands, tied_outputs
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.placement.draft import Draft, Skipped
from trt_int8.quantization.selection import Selection
from trt_int8.quantization.validation import refuse_what_tensorrt_refuses, refuse_without_sites
from trt_int8.quantization.writer import QdqWriter
from trt_int8.ranges.ranges import Ranges, TensorRange, require_ranges


@dataclass(frozen=True, eq=False)
class Quantized:
    """The result of `quantize`.

    Attributes:
        model: the Q/DQ model, checked.
        nodes: names of the nodes whose inputs are quantized now.
        scales: activation tensor → the scale of its Q/DQ pair.
        skipped: nodes that could have been quantized and were not.
        notes: what else the user should know: folded nodes, bodies left alone.
        placement: the placement whose rules were followed.
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

    The rules are those of ``placement``; docs/placement.md lists them. Activations are quantized per
    tensor, weights from their own values, biases stay float. All names of the model survive, but for
    tensors between a convolution and a BatchNormalization folded into it. A node one of whose tensors has
    no usable range stays float as a whole.

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
        placement: ``tensorrt``, ``rtx``, or one of them without some rules; None: the one that fits what
            `trt_int8.build_engine` builds for on this machine.
        selection: which nodes may be quantized; None: all that the rules ask for.

    Raises:
        ModelError: the model cannot be read, or an input is no tensor of numbers.
        TypeError: ``ranges`` is no `Ranges`.
        QuantizationError: the model has Q/DQ nodes already, its opset cannot be raised, it has nothing to
            quantize, ``ranges`` holds none of the tensors it needs, or the selection does not fit it.
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
    _check(target)
    return Quantized(target, nodes, scales, tuple(draft.skipped), rules.text, tuple(draft.notes))


def drafted(
    model: Model, ranges: Ranges, placement: Placement, selection: Selection, *, copy: bool = True
) -> tuple[onnx.ModelProto, Draft]:
    """The model at an opset that has Q/DQ, and what the rules, applied one after the other, make of it.

    Args:
        model, ranges, placement, selection: see `quantize`.
        copy: make a copy that may be changed, even where the opset is high enough.

    Raises:
        ModelError: an input is no tensor of numbers.
        QuantizationError: nothing can be quantized, or the selection does not fit the model.
    """
    list(model.inputs)  # refuses inputs that TensorRT cannot be fed
    minimum = HALF if model.holds_half else MINIMUM
    target = model
    if copy or model.opset < minimum:
        target = Model(with_minimum_opset(model.proto, minimum))
    draft = Draft(target.index, target.opset, ranges, selection, model.element_types)
    for rule in placement.rules:
        rule.apply(draft)
    refuse_without_sites(draft, placement)
    _hold_to_the_plan(draft, placement)
    return target.proto, draft


def _write(model: onnx.ModelProto, draft: Draft, scales: dict[str, np.float32]) -> None:
    """Fold and insert what the draft says; ``model`` is the one it was made for."""
    # In graph order, as a pair goes in front of its first reader; and before folding, which renames outputs.
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


def _check(model: onnx.ModelProto) -> None:
    if serialized_size(model) < PROTOBUF_LIMIT:  # the checker takes a serialized model
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise QuantizationError(f"the Q/DQ model does not pass onnx.checker: {error}") from error
    refuse_what_tensorrt_refuses(model)


def _hold_to_the_plan(draft: Draft, placement: Placement) -> None:
    """Every node the plan wants in INT8 is quantized, or there is an error."""
    if draft.selection.plan is None:
        return
    done = {label(site.node) for site in draft.sites.values()}
    why = {entry.node: entry.reason for entry in draft.skipped}
    for name, precision in draft.selection.plan.nodes.items():
        if precision == "int8" and name not in done:
            reason = why.get(name, f"no rule of placement {placement.name!r} quantizes it")
            raise QuantizationError(
                f"{draft.selection.plan.source}: node {name!r} cannot be int8: {reason}; make it float or "
                "remove the line"
            )


def required_tensors(
    model: ModelLike,
    *,
    placement: str | Placement | None = None,
    selection: Selection | None = None,
) -> tuple[str, ...]:
    """The activations whose ranges `quantize` reads, in graph order: calibrating these alone gives the same
    scales as calibrating all.

    They are the inputs that get Q/DQ pairs when every tensor has a range, all that share a scale with them,
    and those whose range they take (`trt_int8.graph.tensors`).

    Args:
        model: the trained float model.
        placement, selection: as they will be given to `quantize`.

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: nothing can be quantized, or the selection does not fit the model.
    """
    given = Model.of(model)
    order = given.index.order
    everything = Ranges({name: TensorRange(1.0, source="any") for name in order})
    _, draft = drafted(given, everything, resolve(placement), selection or Selection(), copy=False)
    wanted = {name for tensor in draft.quantized_tensors for name in draft.group(tensor)}
    ties = tied_outputs(given.index, set(order))
    wanted |= {ties[name] for name in wanted if name in ties}
    return tuple(name for name in order if name in wanted)

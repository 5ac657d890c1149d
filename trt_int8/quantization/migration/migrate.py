"""Make a Q/DQ model from a model and its calibration cache, with exactly the scales of the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.operators import PASSING
from trt_int8.graph.passes.opset_conversion import OUTPUT_DTYPE, with_minimum_opset
from trt_int8.printable import json_text, printable
from trt_int8.quantization.half import check_half_options, refuse_underflow, to_half
from trt_int8.quantization.migration.from_qdq import CACHE_KEY, NAMES_KEY, rounding
from trt_int8.quantization.migration.names import resolve_unnamed, through_moves
from trt_int8.quantization.migration.parity import NOT_NAMED, ParityRow, parity, parity_table, ran_int8
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.selection import OP_TYPES, Selection
from trt_int8.ranges.cache import CalibrationCache, scale_to_hex
from trt_int8.ranges.ranges import Ranges
from trt_int8.report.report import PrecisionReport
from trt_int8.target import Target, resolve_target

#: Rules that would change a scale of the cache, or of weights: implicit quantization has per-channel ones.
_CHANGING = ("concat-scales", "max-pool-scales", "softmax-range", "one-scale-convolution")


@dataclass(frozen=True, eq=False)
class Migration:
    """The result of `migrate`.

    Attributes:
        model: the Q/DQ model; it carries the cache as metadata for `cache_from_qdq`.
        quantized: nodes, scales, and what stayed float.
        placement: the placement without the rules that would change a scale, as `Placement.text`.
        rows: the comparison with the implicit build, a row for each node.
        resolved: entry with a name that TensorRT generated → tensor.
        moved: tensor without an entry → the entry of the tensor whose values it holds.
        missing: tensors that would be quantized and have no entry.
        gone: entries that match no tensor of the model.
        disagreements: tensors that share a scale in TensorRT's INT8 and not in the cache, in words.
        notes: for people: bodies left in float, scales rounded to float16.
    """

    model: onnx.ModelProto
    quantized: Quantized
    placement: str
    rows: tuple[ParityRow, ...]
    resolved: Mapping[str, str]
    moved: Mapping[str, str]
    missing: tuple[str, ...]
    gone: tuple[str, ...]
    disagreements: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the comparison table and the lists below it, for people."""
        lines = [parity_table(self.rows)]
        differing = sum(not row.same for row in self.rows)
        unnamed = [row.node for row in self.rows if not row.named]
        int8 = sum(row.explicit == "int8" for row in self.rows)
        summary = f"{int8} of {len(self.rows)} nodes in INT8"
        if any(row.implicit is not None for row in self.rows):
            summary += f"; {differing} differ from the implicit build"
            if unnamed:
                summary += f", {len(unnamed)} of them are not in its log"
        lines.append(summary + "\n")
        lists = {
            "matched by position": [f"{entry} → {tensor}" for entry, tensor in self.resolved.items()],
            "taken from a tensor with the same values": [f"{t} ← {e}" for t, e in self.moved.items()],
            "not in the log, so perhaps INT8 in the implicit build": unnamed,
            "missing from the cache": self.missing,
            "in the cache and not in the model": self.gone,
            "different scales where TensorRT wants one, kept as in the cache": self.disagreements,
        }
        for title, entries in lists.items():
            if entries:
                lines.append(f"{title}:\n" + "".join(f"  {printable(entry)}\n" for entry in entries))
        return "".join(lines)


def migrate(
    model: ModelLike,
    cache: CalibrationCache,
    *,
    log: PrecisionReport | None = None,
    target: str | Target | None = None,
    placement: str | Placement | None = None,
    selection: Selection | None = None,
    high_precision: str = "fp32",
    scale_dtype: str = "fp32",
) -> Migration:
    """Insert Q/DQ pairs with the scales of ``cache``, bit for bit.

    Rules that change a scale are off: the tensors around a Concat or max-pool keep their own scales.

    Examples:
        >>> result = migrate("model.onnx", CalibrationCache.read("model.cache"))
        >>> result.quantized.nodes
        ('conv1', 'conv2', 'ip1', 'ip2')
        >>> result.missing
        ()

    Args:
        model: the float model the cache was made for; never changed.
        cache: TensorRT's calibration cache.
        log: the verbose log of the implicit build. Only nodes that ran in INT8 in it get Q/DQ pairs.
        target: what the model will be built for, see `trt_int8.target.resolve_target`.
        placement: rules for Q/DQ pairs; None: those of the target.
        selection: the nodes that may be quantized.
        high_precision: ``fp16`` makes all else float16, see `trt_int8.quantization.to_half`.
        scale_dtype: the type of the scales of a model that is or becomes float16: ``fp32`` (exact, raises the
            opset to 23) or ``fp16`` (opset 19, rounded; a note says how much).

    Raises:
        ModelError: the model cannot be read, or an input is not a tensor of numbers.
        TypeError: ``cache`` is not a `CalibrationCache`.
        QuantizationError: no node can be quantized, the log belongs to another model, the opset cannot be
            raised, or scales underflow float16.
        ReportError: the log holds no complete build.
    """
    if not isinstance(cache, CalibrationCache):
        raise TypeError(f"cache is {cache!r:.80} ({type(cache).__name__}); give CalibrationCache.read(path)")
    given = Model.of(model)
    half = given.holds_half
    check_half_options(high_precision, scale_dtype, half=half)
    if half and scale_dtype == "fp32":
        try:
            given = Model(with_minimum_opset(given.proto, OUTPUT_DTYPE))
        except QuantizationError as error:
            raise QuantizationError(
                f"{error}, or use scales that are rounded to the type of the model (scale_dtype='fp16')"
            ) from error
    index = given.index
    tensors = set(index.order)
    entries = {name: name for name in cache.scales if name in tensors}
    resolved = resolve_unnamed(list(cache.scales), index)
    entries.update({tensor: entry for entry, tensor in resolved.items()})
    moved = through_moves(entries, index)
    entries.update(moved)
    ranges = cache.ranges()
    fitting = Ranges({tensor: ranges[entry] for tensor, entry in entries.items()})
    implicit = None if log is None else _implicit(log, index)
    asked = resolve(resolve_target(target).placement if placement is None else placement)
    rules = asked.without(*_CHANGING)
    chosen = selection or Selection()
    if chosen.plan is not None:
        chosen.plan.require_placement(asked.text)
        chosen = replace(chosen, plan=replace(chosen.plan, placement=rules.text))
    wanted_nodes = _without_floats(chosen, index, implicit)
    quantized = quantize(given, fitting, placement=rules, selection=wanted_nodes)
    if half and scale_dtype == "fp16":
        # As with `to_half`: float16 must hold all usable scales of the cache.
        lost = [entry.tensor for entry in quantized.skipped if entry.tensor in fitting]
        scales = {tensor: fitting[tensor].scale for tensor in lost}
        refuse_underflow({name: np.asarray(scale) for name, scale in scales.items() if scale > 0})
    if high_precision == "fp16" and not half:
        quantized = replace(quantized, model=to_half(quantized.model, scale_dtype=scale_dtype))
    # The model keeps the cache, so that `cache_from_qdq` returns it byte for byte.
    taken = json_text({tensor: e for tensor, e in entries.items() if tensor != e})
    for key, value in ((CACHE_KEY, cache.text), (NAMES_KEY, taken)):
        quantized.model.metadata_props.add(key=key, value=value)
    missing = [entry.tensor for entry in quantized.skipped if entry.tensor and entry.tensor not in entries]
    used = {*entries.values()}
    return Migration(
        quantized.model,
        quantized,
        rules.text,
        parity(index, quantized.nodes, quantized.scales, quantized.skipped, implicit, rules.name),
        resolved,
        {tensor: entry for tensor, entry in moved.items() if tensor in quantized.scales},
        tuple(dict.fromkeys(missing)),
        tuple(name for name in cache.scales if name not in used),
        tuple(_disagreements(index, quantized)),
        tuple(note for note in (*quantized.notes, rounding(quantized.model, quantized.scales)) if note),
    )


def _implicit(log: PrecisionReport, index: GraphIndex) -> dict[str, str]:
    """Return node → precision in the last complete build of ``log``."""
    found = {node.node: node.precision for node in log.last.nodes}
    wanted = [label(node) for node in index.graph.node if node.op_type in OP_TYPES]
    if wanted and not set(found) & set(wanted):
        raise QuantizationError(
            f"{log.source} contains no node of the model (model: {', '.join(wanted[:5])}; log: "
            f"{', '.join(list(found)[:5])}); it is the log of another model"
        )
    return found


def _without_floats(selection: Selection, index: GraphIndex, implicit: Mapping[str, str] | None) -> Selection:
    """Return ``selection`` without the nodes that did not run in INT8."""
    if implicit is None:
        return selection
    names = [label(node) for node in index.graph.node]
    floats = {name: "float" for name in names if not ran_int8(implicit.get(name, NOT_NAMED))}
    given = selection.plan or PrecisionPlan({}, "the implicit build")
    return replace(selection, plan=replace(given, nodes={**given.nodes, **floats}))


def _disagreements(index: GraphIndex, quantized: Quantized) -> list[str]:
    """Return the Concats and moves whose tensors have different scales, in words."""
    found = []
    for node in index.graph.node:
        if node.op_type == "Concat" or node.op_type in PASSING:
            joined = [*(node.input if node.op_type == "Concat" else node.input[:1]), node.output[0]]
            scales = {tensor: quantized.scales[tensor] for tensor in joined if tensor in quantized.scales}
            if len(set(scales.values())) > 1:
                listed = ", ".join(f"{tensor} {scale_to_hex(scale)}" for tensor, scale in scales.items())
                found.append(f"{label(node)} ({node.op_type}): {listed}")
    return found

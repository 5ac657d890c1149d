"""The draft that placement rules fill in: the inputs of nodes that get Q/DQ pairs, and their scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from trt_int8.graph.index import GraphIndex, Use, is_standard, label
from trt_int8.graph.passes.opset_conversion import OUTPUT_DTYPE
from trt_int8.graph.passes.split_before_transpose import SplitTranspose
from trt_int8.graph.tensors import ConstantOperands
from trt_int8.quantization.scales import SMALLEST_FLOAT16, scale_type, weight_scales
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges, TensorRange

_FLOATS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Skipped:
    """A node that stays float, with the reason."""

    node: str
    tensor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


@dataclass(frozen=True)
class Weight:
    """A constant operand: input ``slot`` of a node, channels along ``axis`` (None: one scale)."""

    slot: int
    axis: int | None


@dataclass(frozen=True)
class Site:
    """A node to quantize as a whole, as INT8 kernels need both operands in INT8.

    Attributes:
        node: the node.
        activations: input slots to quantize per tensor.
        weights: constant operands.
    """

    node: onnx.NodeProto
    activations: tuple[int, ...]
    weights: tuple[Weight, ...] = ()


@dataclass
class Draft:
    """The state that the rules of a placement share.

    Attributes:
        index: the float graph.
        opset: its version of the standard operators.
        ranges: calibrated ranges.
        selection: the nodes that the user wants quantized.
        types: tensor → ONNX element type, as far as it is known.
        sites: first output of a node → its site.
        quantized: tensors that some site reads through a pair.
        skipped: nodes that a rule wanted and that stay float.
        untouched: first outputs of nodes that no rule may quantize.
        fixed: tensor → range that replaces the calibrated one.
        per_channel, per_channel_batches: weights, and batched weights, get per-channel scales.
        folds: first output of a convolution → the BatchNormalization to fold into it.
        splits: Transposes to move behind the parts that their output is split into.
        fold_small_constants: compute scalars and shapes that depend on no input beforehand.
        notes: for people.
    """

    index: GraphIndex
    opset: int
    ranges: Ranges
    selection: Selection
    types: Mapping[str, int] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    quantized: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    untouched: set[str] = field(default_factory=set)
    fixed: dict[str, TensorRange] = field(default_factory=dict)
    per_channel: bool = False
    per_channel_batches: bool = False
    folds: dict[str, onnx.NodeProto] = field(default_factory=dict)
    splits: list[SplitTranspose] = field(default_factory=list)
    fold_small_constants: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.constants = ConstantOperands(self.index, self.opset)
        self._refusals = self.selection.refusals(self.index.graph.node)
        self._groups: dict[str, list[str]] = {}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """Standard operators of the graph, in order."""
        return [node for node in self.index.graph.node if is_standard(node) and node.output]

    def constant(self, tensor: str) -> npt.NDArray[np.generic] | None:
        """Return the value of a tensor that depends on constants only; None for any other."""
        return self.constants.value(tensor)

    def has_pair(self, use: Use) -> bool:
        """Return whether ``use`` reads its tensor through a pair."""
        site = self.sites.get(use.node.output[0])
        return site is not None and use.slot in site.activations

    def quantize(
        self, node: onnx.NodeProto, activations: tuple[int, ...], weights: tuple[Weight, ...] = ()
    ) -> None:
        """Quantize inputs of ``node``; it stays float if that is impossible or not wanted."""
        if node.output[0] in self.untouched:
            return
        refusal = self._refusals.get(node.output[0])
        if refusal is not None:
            self.skipped.append(Skipped(label(node), "", refusal))
            return
        site = Site(node, activations, weights)
        if node.output[0] in self.sites:
            earlier = self.sites[node.output[0]]
            slots = tuple(dict.fromkeys((*earlier.activations, *activations)))
            site = Site(node, slots, (*earlier.weights, *weights))
        obstacle = next(self._obstacles(site), None)
        if obstacle is not None:
            self.skipped.append(Skipped(label(node), *obstacle))
            return
        self.sites[node.output[0]] = site
        self.quantized.update(node.input[slot] for slot in site.activations)

    def join(self, first: str, second: str) -> None:
        """Give two tensors one scale, and all tensors that share a scale with either."""
        group, other = self.group(first), self.group(second)
        if group is not other:
            group.extend(other)
        self._groups.update(dict.fromkeys(group, group))

    def group(self, tensor: str) -> list[str]:
        """Return all tensors that share a scale with ``tensor``, itself included."""
        return self._groups.setdefault(tensor, [tensor])

    def range(self, tensor: str) -> TensorRange | None:
        """Return the range of ``tensor``: the fixed one, its own, or the widest of its group.

        A group shares one range if two or more of its tensors are quantized. A tensor without a range takes
        that of the group.
        """
        if tensor in self.fixed:
            return self.fixed[tensor]
        own = self.ranges.get(tensor)
        if own is not None and not own.usable:
            return own
        group = self.group(tensor)
        if own is not None and len(self.quantized.intersection(group)) < 2:
            return own
        usable = {
            name: self.ranges[name] for name in group if name in self.ranges and self.ranges[name].usable
        }
        if not usable:
            return own
        widest = max(usable, key=lambda name: usable[name].amax)
        if own is not None and own.amax == usable[widest].amax:
            return own
        return TensorRange(usable[widest].amax, source=f"shared with {widest}")

    def scales(self) -> dict[str, np.float32]:
        """Return quantized tensor → the scale of its pair, in graph order."""
        position = {name: i for i, name in enumerate(self.index.order)}
        ordered = sorted(self.quantized, key=lambda name: (position.get(name, len(position)), name))
        ranges = {name: self.range(name) for name in ordered}
        return {name: found.scale for name, found in ranges.items() if found is not None}

    def _obstacles(self, site: Site) -> Iterator[tuple[str, str]]:
        """Yield the tensors of ``site`` that cannot be quantized, with the reasons."""
        for tensor in [site.node.input[slot] for slot in site.activations]:
            found = self.range(tensor)
            if found is None:
                yield tensor, f"no range for tensor {tensor!r}"
            elif found.amax == 0:
                yield tensor, f"tensor {tensor!r} was always zero in calibration"
            elif not found.usable:
                yield tensor, f"range {found.amax:g} of tensor {tensor!r} has no float32 scale"
            else:
                element = self.types.get(tensor, TensorProto.FLOAT)
                yield from self._underflow(element, np.asarray(found.scale), tensor, "tensor")
        for weight in site.weights:
            tensor = site.node.input[weight.slot]
            values = self.constant(tensor)
            if values is None or values.dtype.name not in _FLOATS:
                dtype = None if values is None else values.dtype
                yield tensor, f"weight {tensor!r} is {dtype}, only {', '.join(_FLOATS)} are quantized"
            elif values.size == 0 or not np.isfinite(values.astype(np.float32)).all():
                yield tensor, f"weight {tensor!r} is empty or holds NaN or Inf"
            else:
                element = helper.np_dtype_to_tensor_dtype(values.dtype)
                yield from self._underflow(element, weight_scales(values, weight.axis), tensor, "weight")

    def _underflow(
        self, element: int, scales: npt.NDArray[np.float32], tensor: str, kind: str
    ) -> Iterator[tuple[str, str]]:
        """Yield ``tensor`` if its scales must be float16 and are too small for it."""
        if scale_type(element, self.opset) == TensorProto.FLOAT16 and scales.min() < SMALLEST_FLOAT16:
            yield (
                tensor,
                f"scale {scales.min():g} of {kind} {tensor!r} underflows float16 (below "
                f"{SMALLEST_FLOAT16:.3g}); at opset {OUTPUT_DTYPE} scales are float32: convert it first",
            )

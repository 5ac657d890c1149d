"""A rule: one weight scale for convolutions that TensorRT-RTX then computes in one kernel.

With per-channel scales, a second kernel adds the bias and computes the activation. With one scale the kernel
of the convolution does both; only a pair behind it needs a second kernel, which only quantizes.
docs/placement.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.graph.index import attribute, is_standard
from trt_int8.graph.passes.batch_norm_folding import normalized_weight
from trt_int8.quantization.placement.draft import Draft, Site, Weight
from trt_int8.quantization.placement.rule import RTX, rule
from trt_int8.quantization.scales import Array, quantize_int8, weight_scales

#: The SQNR in dB that a channel must keep with one scale. An INT8 activation has 33 to 40 dB (Gaussian: 40),
#: so that the weight adds little to the error of its input and output.
KEPT_DB = 38.0
#: The largest error of a channel in steps (of 127) of the pair behind it, with all of its input at the end of
#: its range. For a usual input, whose root mean square is a seventh of the range, this is less than one step.
HIDDEN_STEPS = 6.0
#: The same for channels that keep less than so many dB.
GONE_DB, GONE_STEPS = 10.0, 1.0
#: measured: activations that the kernel of the convolution computes.
_COMPUTED = frozenset(["Relu", "Clip", "LeakyRelu", "Sigmoid"])
#: These bring large and small channels to a similar size.
_SQUASHING = frozenset(["Clip", "Sigmoid"])
#: measured: float consumers that need no more kernels. An Add or a Concat would need one, and so does a pair
#: if the tensor is an output of the graph, too: with per-channel scales one kernel writes both.
_READERS = frozenset(["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
Channels = npt.NDArray[np.float64]


class _End(NamedTuple):
    """The tensor that the kernel of a convolution writes, and whether the activation squashes it."""

    tensor: str
    squashed: bool


class Rounding(NamedTuple):
    """The effect of rounding on each channel of a weight.

    Attributes:
        signal: sum of squares of the weight.
        noise: sum of squares of the rounding errors.
        offset: absolute sum of the rounding errors: the error for a constant input of 1.
    """

    signal: Channels
    noise: Channels
    offset: Channels

    @property
    def kept_db(self) -> Channels:
        """10 log₁₀ (signal / noise) of each channel; infinity without noise."""
        ratio = np.divide(
            self.signal, self.noise, out=np.full_like(self.signal, np.inf), where=self.noise > 0
        )
        return np.asarray(10 * np.log10(ratio))


@rule(
    "one-scale-convolution", 510, "measured: the convolution then does bias and activation itself.", only=RTX
)
def one_scale(draft: Draft) -> None:
    """Give a Conv that only a bias and an activation follow one weight scale, if that saves a step and the
    weight keeps enough SQNR."""
    for name, site in draft.sites.items():
        values = _weight(site, draft)
        end = None if values is None else _end(site.node, values.shape, draft)
        if values is not None and end is not None and _keeps_enough(values, site, end, draft):
            draft.sites[name] = replace(site, weights=(Weight(1, None),))


def round_with_one_scale(values: Array) -> Rounding:
    """Compare s · round(w / s) with s = max |w| / 127 to a float weight w [channels, ...]."""
    scale = weight_scales(values, None)
    exact = values.astype(np.float64)
    lost = exact - scale * quantize_int8(values, scale).astype(np.float64)
    others = tuple(range(1, values.ndim))
    return Rounding(
        np.square(exact).sum(axis=others), np.square(lost).sum(axis=others), np.abs(lost.sum(axis=others))
    )


def _keeps_enough(values: Array, site: Site, end: _End, draft: Draft) -> bool:
    """Return whether one scale saves a step and the weight keeps enough SQNR with it.

    If only a pair reads the output, the median channel decides, as the pair has one scale for all channels,
    too; the error of each other channel must then be small in steps of the pair. Else the worst one decides.
    """
    readers = draft.index.consumers.get(end.tensor, [])
    floats = [use.node for use in readers if not draft.has_pair(use)]
    is_output, paired = end.tensor in draft.index.outputs, len(floats) < len(readers)
    if (is_output and paired) or not (is_output or readers):
        return False
    if not all(node.op_type in _READERS and is_standard(node) for node in floats):
        return False
    rounding = round_with_one_scale(values)
    kept = rounding.kept_db
    before, behind = draft.range(site.node.input[0]), draft.range(end.tensor)
    if floats or is_output or end.squashed or before is None or behind is None:
        return bool(kept.min() >= KEPT_DB)
    # The error for inputs that vary, and for smooth inputs of one sign (images, outputs of a Relu).
    off = np.maximum(np.sqrt(rounding.noise), rounding.offset) * before.amax / behind.scale
    hidden = off <= np.where(kept < GONE_DB, GONE_STEPS, HIDDEN_STEPS)
    live = rounding.signal > 0
    return bool(live.any() and np.median(kept[live]) >= KEPT_DB and np.all((kept >= KEPT_DB) | hidden))


def _weight(site: Site, draft: Draft) -> Array | None:
    """Return the weight of a plain or depthwise convolution as it will be rounded; None for other nodes.

    measured: other grouped convolutions do not benefit.
    """
    if site.node.op_type != "Conv" or [weight.slot for weight in site.weights] != [1]:
        return None
    values = draft.constant(site.node.input[1])
    if values is None or (attribute(site.node, "group", 1) != 1 and values.shape[1] != 1):
        return None
    norm = draft.folds.get(site.node.output[0])
    return values if norm is None else normalized_weight(values, norm, draft.index)


def _end(node: onnx.NodeProto, weight: tuple[int, ...], draft: Draft) -> _End | None:
    """Return the end of a convolution with a weight of that shape; None if a body reads it."""
    norm = draft.folds.get(node.output[0])
    last, squashed = node if norm is None else norm, False
    if norm is None and not (len(node.input) > 2 and node.input[2]):
        bias = _only_reader(last, draft, lambda reader: _adds_a_bias(reader, weight, draft))
        last = bias or last
    activation = _only_reader(last, draft, lambda reader: reader.op_type in _COMPUTED)
    if activation is not None:
        last, squashed = activation, activation.op_type in _SQUASHING
    return None if last.output[0] in draft.index.used_in_bodies else _End(last.output[0], squashed)


def _only_reader(
    node: onnx.NodeProto, draft: Draft, wanted: Callable[[onnx.NodeProto], bool]
) -> onnx.NodeProto | None:
    """Return the only consumer of the output of ``node``, if it is as wanted."""
    tensor, index = node.output[0], draft.index
    uses = index.consumers.get(tensor, [])
    if len(uses) != 1 or tensor in index.outputs or tensor in index.used_in_bodies:
        return None
    reader = uses[0].node
    return reader if is_standard(reader) and wanted(reader) else None


def _adds_a_bias(node: onnx.NodeProto, weight: tuple[int, ...], draft: Draft) -> bool:
    """Return whether ``node`` adds a constant with one value per channel: a bias as a node of its own."""
    constants = [value for value in map(draft.constant, node.input) if value is not None]
    return node.op_type == "Add" and any(
        value.ndim >= len(weight) - 1 and value.size == value.shape[1 - len(weight)] == weight[0]
        for value in constants
    )

"""One weight scale for convolutions that TensorRT-RTX then finishes in one kernel.

With a scale for each channel, bias and activation follow the convolution in a kernel of their own. With one
scale the convolution does both by itself: a pair behind it costs one step that only quantizes, and where
float is read instead, nothing. docs/placement.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.graph.index import Use, attribute, is_standard
from trt_int8.graph.passes.batch_norm_folding import normalized_weight
from trt_int8.quantization.placement.draft import Draft, Site, Weight
from trt_int8.quantization.placement.rule import RTX, rule
from trt_int8.quantization.scales import Array, quantize_int8, weight_scales

#: What rounding with one scale must leave of a channel, in dB: 8 bits are worth 33 to 40 dB to an activation
#: (40 to a Gaussian), so that the weight adds little to what its input and output lose anyway.
KEPT_DB = 38.0
#: Steps of the pair behind it (of 127) that a channel may be off by, if all of its input is at the end of its
#: range: less than one for an input whose mean square is usual, a seventh of it.
HIDDEN_STEPS = 6.0
#: One for a channel of which less than this is kept, in dB: it may be gone, if nobody sees that.
GONE_DB, GONE_STEPS = 10.0, 1.0
#: measured: activations that the convolution computes itself.
_COMPUTED = frozenset(["Relu", "Clip", "LeakyRelu", "Sigmoid"])
#: These make large and small channels alike.
_SQUASHING = frozenset(["Clip", "Sigmoid"])
#: measured: float readers that cost nothing more. An Add or a Concat would cost a kernel, and so does a
#: pair beside an output of the graph: with a scale a channel, one kernel writes both.
_READERS = frozenset(["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
Channels = npt.NDArray[np.float64]


class _End(NamedTuple):
    """Where what a convolution computes itself ends.

    Attributes:
        tensor: what is there.
        squashed: by the activation.
    """

    tensor: str
    squashed: bool


class Rounding(NamedTuple):
    """What rounding does to each channel of a weight.

    Attributes:
        signal: sum of squares of the weight.
        noise: the same of what rounding changes.
        offset: the sum of what rounding changes, absolute: what a constant input of 1 shows.
    """

    signal: Channels
    noise: Channels
    offset: Channels

    @property
    def kept_db(self) -> Channels:
        """10 log₁₀ (signal / noise) of each channel; infinity where nothing is lost."""
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
        if values is not None and end is not None and _bears_it(values, site, end, draft):
            draft.sites[name] = replace(site, weights=(Weight(1, None),))


def round_with_one_scale(values: Array) -> Rounding:
    """What s · round(w / s) with s = max |w| / 127 makes of a weight [channels, ...], float."""
    scale = weight_scales(values, None)
    exact = values.astype(np.float64)
    lost = exact - scale * quantize_int8(values, scale).astype(np.float64)
    others = tuple(range(1, values.ndim))
    return Rounding(
        np.square(exact).sum(axis=others), np.square(lost).sum(axis=others), np.abs(lost.sum(axis=others))
    )


def _bears_it(values: Array, site: Site, end: _End, draft: Draft) -> bool:
    """Whether a weight with one scale loses less than its readers, and TensorRT-RTX gains by it.

    Behind a pair, which has one scale for all channels too, the channel in the middle decides, if what the
    others lose is hidden by the pair. Elsewhere the worst channel does.
    """
    readers = draft.index.consumers.get(end.tensor, [])
    floats = [use.node for use in readers if not _through_a_pair(use, draft)]
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
    # Of inputs that vary, and of smooth ones of one sign (images, what is behind a Relu).
    off = np.maximum(np.sqrt(rounding.noise), rounding.offset) * before.amax / behind.scale
    hidden = off <= np.where(kept < GONE_DB, GONE_STEPS, HIDDEN_STEPS)
    live = rounding.signal > 0
    return bool(live.any() and np.median(kept[live]) >= KEPT_DB and np.all((kept >= KEPT_DB) | hidden))


def _weight(site: Site, draft: Draft) -> Array | None:
    """The weight of a convolution, plain or depthwise, as it will be rounded; None for what is none.

    measured: grouped ones of other kinds gain nothing.
    """
    if site.node.op_type != "Conv" or [weight.slot for weight in site.weights] != [1]:
        return None
    values = draft.constant(site.node.input[1])
    if values is None or (attribute(site.node, "group", 1) != 1 and values.shape[1] != 1):
        return None
    norm = draft.folds.get(site.node.output[0])
    return values if norm is None else normalized_weight(values, norm, draft.index)


def _end(node: onnx.NodeProto, weight: tuple[int, ...], draft: Draft) -> _End | None:
    """The end of a convolution with a weight of that shape; None if a body reads it."""
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
    """The node that reads the output of ``node``, if nothing else does and it is as wanted."""
    tensor, index = node.output[0], draft.index
    uses = index.consumers.get(tensor, [])
    if len(uses) != 1 or tensor in index.outputs or tensor in index.used_in_bodies:
        return None
    reader = uses[0].node
    return reader if is_standard(reader) and wanted(reader) else None


def _adds_a_bias(node: onnx.NodeProto, weight: tuple[int, ...], draft: Draft) -> bool:
    """Whether ``node`` is the Add of a constant with one value a channel: a bias written apart."""
    constants = [value for value in map(draft.constant, node.input) if value is not None]
    return node.op_type == "Add" and any(
        value.ndim >= len(weight) - 1 and value.size == value.shape[1 - len(weight)] == weight[0]
        for value in constants
    )


def _through_a_pair(use: Use, draft: Draft) -> bool:
    site = draft.sites.get(use.node.output[0])
    return site is not None and use.slot in site.activations

"""One weight scale for convolutions that TensorRT-RTX then finishes in one kernel.

With a scale for each channel, bias and activation follow the convolution in a kernel of their own. With one
scale the convolution does both by itself: a pair behind it costs one step that only quantizes, and where
float is read, nothing. docs/placement.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.model.graph import Use, attribute
from trt_int8.quantization.batch_norm import normalized_weight
from trt_int8.quantization.placement.draft import Draft, Site, Weight
from trt_int8.quantization.scales import Array, quantize_int8, weight_scales

#: What rounding with one scale must leave of a channel, in dB: 8 bits are worth 33 to 40 dB to an activation
#: (40 to a Gaussian), so that the weight adds little to what its input and output lose anyway.
KEPT_DB = 38.0
#: measured: activations that the convolution computes itself.
_COMPUTED = frozenset(["Relu", "Clip", "LeakyRelu", "Sigmoid"])
#: These make large and small channels alike.
_SQUASHING = frozenset(["Clip", "Sigmoid"])
#: measured: float readers that cost nothing more. An Add or a Concat would cost a kernel.
_READERS = frozenset(["Conv", "ConvTranspose", "MaxPool", "AveragePool"])


@dataclass(frozen=True)
class _End:
    """Where what a convolution computes itself ends.

    Attributes:
        readers: of the tensor there.
        is_output: of the graph.
        squashed: by the activation.
    """

    readers: list[Use]
    is_output: bool
    squashed: bool


def one_scale(draft: Draft) -> None:
    """Convolutions with nothing but bias and activation behind them, whose weight loses little by it.

    Behind a pair the channels share one scale, and what is small there is lost in its rounding: the channel
    in the middle decides. Where float is read, or channels were made alike, the worst channel does.
    """
    for name, site in draft.sites.items():
        values = _weight(site, draft)
        end = None if values is None else _end(site.node, values.shape, draft)
        if values is None or end is None:
            continue
        paired = [_through_a_pair(use, draft) for use in end.readers]
        if all(pair or use.node.op_type in _READERS for pair, use in zip(paired, end.readers, strict=True)):
            hidden = all(paired) and not end.is_output and not end.squashed
            kept = kept_by_one_scale(values)
            if (np.median(kept) if hidden else kept.min()) >= KEPT_DB:
                draft.sites[name] = replace(site, weights=(Weight(1, None),))


def kept_by_one_scale(values: Array) -> npt.NDArray[np.float64]:
    """What s · round(w / s) with s = max |w| / 127 keeps of each channel of a weight, in dB.

    10 log₁₀ (Σ w² / Σ (w − s · round(w / s))²); infinity where nothing is lost, and nothing is lost of zeros.

    Args:
        values: [channels, ...], float.

    Returns:
        float64 [channels].
    """
    scale = weight_scales(values, None)
    exact = values.astype(np.float64)
    lost = exact - scale * quantize_int8(values, scale).astype(np.float64)
    others = tuple(range(1, values.ndim))
    signal, noise = np.square(exact).sum(axis=others), np.square(lost).sum(axis=others)
    ratio = np.divide(signal, noise, out=np.full_like(signal, np.inf), where=noise > 0)
    return np.asarray(10 * np.log10(ratio))


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
    """The end of a convolution with a weight of that shape; None if a body reads anything before."""
    norm = draft.folds.get(node.output[0])
    tensor, squashed = (node if norm is None else norm).output[0], False
    has_bias = norm is not None or (len(node.input) > 2 and bool(node.input[2]))
    adds_a_bias = partial(_adds_a_bias, weight=weight, draft=draft)
    for goes_on in (_is_computed,) if has_bias else (adds_a_bias, _is_computed):
        uses = draft.index.consumers.get(tensor, [])
        if tensor in draft.index.used_in_bodies:
            return None
        if len(uses) == 1 and tensor not in draft.index.outputs and goes_on(uses[0].node):
            tensor, squashed = uses[0].node.output[0], uses[0].node.op_type in _SQUASHING
    if tensor in draft.index.used_in_bodies:
        return None
    return _End(draft.index.consumers.get(tensor, []), tensor in draft.index.outputs, squashed)


def _adds_a_bias(node: onnx.NodeProto, *, weight: tuple[int, ...], draft: Draft) -> bool:
    """Whether ``node`` is the Add of a constant with one value a channel: a bias written apart."""
    constants = [value for value in map(draft.constant, node.input) if value is not None]
    return node.op_type == "Add" and any(
        value.ndim >= len(weight) - 1 and value.size == value.shape[1 - len(weight)] == weight[0]
        for value in constants
    )


def _is_computed(node: onnx.NodeProto) -> bool:
    return node.op_type in _COMPUTED


def _through_a_pair(use: Use, draft: Draft) -> bool:
    site = draft.sites.get(use.node.output[0])
    return site is not None and use.slot in site.activations

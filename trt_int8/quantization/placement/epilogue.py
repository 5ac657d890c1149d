"""One weight scale for convolutions that TensorRT-RTX then finishes in one kernel.

With a scale for each channel, bias and activation follow the convolution in a kernel of their own. With one
scale the convolution does both by itself: a pair behind it costs one step that only quantizes, and where
float is read, nothing. docs/placement.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx

from trt_int8.model.graph import Use
from trt_int8.quantization.batch_norm import normalized_weight
from trt_int8.quantization.placement.draft import Draft, Site, Weight
from trt_int8.quantization.scales import Array, quantize_int8, weight_scales

#: What rounding with one scale must leave of the channel in the middle, in dB. The channels of the output
#: share one scale too, and 8 bits are worth 33 to 40 dB to an activation (40 to a Gaussian).
KEPT_DB = 38.0
#: measured: activations that the convolution does by itself.
_DONE_BY_ITSELF = frozenset(["Relu", "Clip", "LeakyRelu", "Sigmoid"])
#: measured: float readers that cost nothing more. An Add or a Concat would cost a kernel.
_READERS = frozenset(["Conv", "ConvTranspose", "MaxPool", "AveragePool"])


def one_scale(draft: Draft) -> None:
    """Convolutions with nothing but an activation behind them, whose weight loses little by it."""
    for name, site in draft.sites.items():
        if site.node.op_type == "Conv" and _ends_behind_its_activation(site.node, draft):
            weights = tuple(_with_one_scale(weight, site, draft) for weight in site.weights)
            draft.sites[name] = replace(site, weights=weights)


def kept_by_one_scale(values: Array) -> float:
    """What s · round(w / s) with s = max |w| / 127 keeps of a weight: the median over the channels, in dB.

    A channel keeps 10 log₁₀ (Σ w² / Σ (w − s · round(w / s))²); infinity where nothing is lost, and nothing
    is lost of zeros.

    Args:
        values: [channels, ...], float.
    """
    scale = weight_scales(values, None)
    exact = values.astype(np.float64)
    lost = exact - scale * quantize_int8(values, scale).astype(np.float64)
    others = tuple(range(1, values.ndim))
    signal, noise = np.square(exact).sum(axis=others), np.square(lost).sum(axis=others)
    ratio = np.divide(signal, noise, out=np.full_like(signal, np.inf), where=noise > 0)
    return float(np.median(10 * np.log10(ratio)))


def _with_one_scale(weight: Weight, site: Site, draft: Draft) -> Weight:
    values = draft.constant(site.node.input[weight.slot])
    assert values is not None
    norm = draft.folds.get(site.node.output[0])
    values = values if norm is None else normalized_weight(values, norm, draft.index)
    return replace(weight, axis=None) if kept_by_one_scale(values) >= KEPT_DB else weight


def _ends_behind_its_activation(node: onnx.NodeProto, draft: Draft) -> bool:
    norm = draft.folds.get(node.output[0])
    tensor = node.output[0] if norm is None else norm.output[0]
    uses = draft.index.consumers.get(tensor, [])
    for goes_on in (_adds_a_bias(node, draft), _is_an_activation):
        if len(uses) == 1 and tensor not in draft.index.outputs and goes_on(uses[0].node):
            tensor = uses[0].node.output[0]
            uses = draft.index.consumers.get(tensor, [])
    return tensor not in draft.index.used_in_bodies and all(
        use.node.op_type in _READERS or _through_a_pair(use, draft) for use in uses
    )


def _adds_a_bias(convolution: onnx.NodeProto, draft: Draft) -> Callable[[onnx.NodeProto], bool]:
    """Whether a node is the Add of a constant with one value a channel: a bias written apart."""
    weight = draft.constant(convolution.input[1])
    assert weight is not None

    def adds(node: onnx.NodeProto) -> bool:
        constants = [value for value in map(draft.constant, node.input) if value is not None]
        return node.op_type == "Add" and any(
            value.size == weight.shape[0] and value.shape[1 - weight.ndim :][:1] == weight.shape[:1]
            for value in constants
        )

    return adds


def _is_an_activation(node: onnx.NodeProto) -> bool:
    return node.op_type in _DONE_BY_ITSELF


def _through_a_pair(use: Use, draft: Draft) -> bool:
    site = draft.sites.get(use.node.output[0])
    return site is not None and use.slot in site.activations

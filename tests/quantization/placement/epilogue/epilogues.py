"""Convolutions and what stands behind them."""

import numpy as np
from graphs import op, ranges, scale

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.quantization import PLACEMENTS, quantize
from trt_int8.report import PrecisionReport
from trt_int8.report.explain.findings import size_in_bytes

C = 16
UNEVEN = np.geomspace(1, 300, C).astype(np.float32)
#: What reads "act", the end of the convolution "c".
ENDS = {
    "pair": [op("Conv", "act p", "y")],
    "max-pool": [op("MaxPool", "act", "m", kernel_shape=[2, 2]), op("Conv", "m p", "y")],
    "mean": [op("AveragePool", "act", "m", kernel_shape=[2, 2]), op("Conv", "m p", "y")],
    "nothing": [],
    "up": [op("ConvTranspose", "act t", "y", strides=[2, 2])],
    "pair and up": [op("Conv", "act p", "d"), op("ConvTranspose", "act t", "y", strides=[2, 2])],
    "add": [op("Add", "act r", "s"), op("Conv", "s p", "y")],
    "add and pair": [op("Conv", "act p", "d"), op("Conv", "act p", "e"), op("Add", "d act", "y")],
    "concat": [op("Concat", "act r", "s", axis=1), op("Conv", "s p2", "y")],
    "gate": [op("Mul", "act r", "s"), op("Conv", "s p", "y")],
}


def convolution(*behind, end="pair", inputs="x w b", **attributes):
    return [op("Conv", inputs, "c", pads=[1] * 4, **attributes), *behind, *ENDS[end]]


def quantized(model, placement=PLACEMENTS["rtx"], **options):
    """``act``: the end of its range; all others end at 2."""
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    amax = dict.fromkeys(sorted(names), 2.0) | {"act": options.pop("act", 20.0)}
    return quantize(model, ranges(**amax), placement=placement, **options).model


def has_one_scale(model, **options):
    return scale(quantized(model, **options), "c", 1).shape == ()


RELU = op("Relu", "c", "act")


def scaled(weight, factors):
    return weight * np.asarray(factors, np.float32)[:, None, None, None]


def built(model, *without, **options):
    """Compute kernels, all kernels, KB that they read and write."""
    log = BuildLog()
    model = quantized(model, PLACEMENTS["rtx"].without(*without), **options)
    build_explicit(model, tensorrt=load("tensorrt_rtx"), log=log)
    build = PrecisionReport.from_lines(log.lines).last
    (node,) = [node for node in build.nodes if node.node == "c"]
    assert node.precision == "int8"
    moved = sum(size_in_bytes(t) or 0 for layer in build.layers for t in (*layer.inputs, *layer.outputs))
    return len(build.compute_layers), len(build.layers), moved // 1024

"""Float model and ranges in, Q/DQ model out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import onnx

from trt_int8.errors import QuantizationError
from trt_int8.model.graph import GraphIndex, label
from trt_int8.model.load import load_model
from trt_int8.model.qdq import has_qdq
from trt_int8.quantization.opset import with_minimum_opset
from trt_int8.quantization.placement import Site, find_sites
from trt_int8.quantization.rewrite import QdqWriter
from trt_int8.quantization.sharing import share_scales
from trt_int8.ranges.ranges import Ranges


@dataclass(frozen=True)
class Skipped:
    """A node left in float, and why."""

    node: str
    tensor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Quantized:
    """The result of `quantize`.

    Attributes:
        model: the Q/DQ model, checked.
        nodes: names of the nodes whose inputs are quantized now.
        scales: activation tensor → the scale of its Q/DQ pair.
        skipped: nodes that could have been quantized and were not.
    """

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    scales: dict[str, np.float32]
    skipped: tuple[Skipped, ...]


def quantize(model: onnx.ModelProto | str | os.PathLike[str], ranges: Ranges) -> Quantized:
    """Insert Q/DQ pairs where TensorRT wants them, with the scales of ``ranges``.

    Inputs of Conv, ConvTranspose, Gemm and MatMul, and the residual input of Add, are quantized per
    tensor; weights per channel from their own values; biases stay float. All names of the model
    survive. A node one of whose tensors has no usable range stays float as a whole.

    Args:
        model: the trained float model; never changed.
        ranges: tensor → amax, from `trt_int8.calibrate` or `CalibrationCache.ranges`.

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: the model has Q/DQ nodes already, its opset cannot be raised to 13, it has
            nothing to quantize, or ``ranges`` holds none of the tensors it needs.
    """
    loaded = load_model(model)
    if has_qdq(loaded):
        raise QuantizationError(
            "the model holds Q/DQ nodes already; build it as it is, or quantize the float model "
            "it was made from"
        )
    target = with_minimum_opset(loaded)
    index = GraphIndex(target)
    sites = list(find_sites(index))
    if not sites:
        raise QuantizationError("the model has no Conv, ConvTranspose, Gemm or MatMul: nothing runs in INT8")
    shared = share_scales(index, ranges)
    obstacles = [_obstacle(site, index, shared) for site in sites]
    skipped = [obstacle for obstacle in obstacles if obstacle is not None]
    chosen = [site for site, obstacle in zip(sites, obstacles, strict=True) if obstacle is None]
    if not chosen:
        _refuse(skipped, ranges)

    writer, scales = QdqWriter(target), {}
    for site in chosen:
        for slot in site.activations:
            tensor = site.node.input[slot]
            scales[tensor] = shared[tensor].scale
            writer.activation(site.node, slot, scales[tensor])
        for weight in site.weights:
            values = index.constant(site.node.input[weight.slot])
            assert values is not None
            writer.weight(site.node, weight.slot, weight.axis, values)
    nodes = tuple(label(site.node) for site in chosen)
    writer.finish()
    try:
        onnx.checker.check_model(target, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise QuantizationError(f"the Q/DQ model does not pass onnx.checker: {error}") from error
    return Quantized(target, nodes, scales, tuple(skipped))


def _obstacle(site: Site, index: GraphIndex, ranges: Ranges) -> Skipped | None:
    """Why ``site`` cannot be quantized; None if it can."""
    name = label(site.node)
    for slot in site.activations:
        tensor = site.node.input[slot]
        if tensor not in ranges:
            return Skipped(name, tensor, f"no range for tensor {tensor!r}")
        if ranges[tensor].amax == 0:
            return Skipped(name, tensor, f"tensor {tensor!r} was always zero in calibration")
        if not ranges[tensor].usable:
            return Skipped(
                name, tensor, f"range {ranges[tensor].amax:g} of tensor {tensor!r} has no float32 scale"
            )
    for weight in site.weights:
        tensor = site.node.input[weight.slot]
        values = index.constant(tensor)
        if values is None or values.dtype != np.float32:
            found = None if values is None else values.dtype
            return Skipped(name, tensor, f"weight {tensor!r} is {found}, only float32 is quantized")
        if values.size == 0 or not np.isfinite(values).all():
            return Skipped(name, tensor, f"weight {tensor!r} is empty or holds NaN or Inf")
    return None


def _refuse(skipped: list[Skipped], ranges: Ranges) -> None:
    wanted = sorted({entry.tensor for entry in skipped})
    if ranges and not any(tensor in ranges for tensor in wanted):
        raise QuantizationError(
            f"none of the {len(wanted)} tensors to quantize has a range: the ranges belong to another model "
            f"(wanted: {', '.join(wanted[:5])}; given: {', '.join(list(ranges)[:5])})"
        )
    listed = "\n".join(f"  {entry}" for entry in skipped[:10])
    raise QuantizationError(f"nothing can be quantized:\n{listed}")

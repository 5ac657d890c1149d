"""Layers and float tensors of a parsed network, and precision constraints on layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trt_int8.choices import Constraints as Constraints
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.errors import BuildError
from trt_int8.patterns import matching, nearest

_FLAGS = {"obey": "OBEY_PRECISION_CONSTRAINTS", "prefer": "PREFER_PRECISION_CONSTRAINTS"}
_TYPES = {"fp16": "HALF", "fp32": "FLOAT"}


def layers(network: Any) -> list[Any]:
    """Return all layers, in network order."""
    return [network.get_layer(index) for index in range(network.num_layers)]


def float_tensors(network: Any, tensorrt: TensorRT) -> dict[str, Any]:
    """Return the float inputs and layer outputs by name, in network order.

    Tensors of integers and booleans take no part in INT8 calibration.
    """
    found = [network.get_input(index) for index in range(network.num_inputs)]
    for layer in layers(network):
        found += [layer.get_output(index) for index in range(layer.num_outputs)]
    return {tensor.name: tensor for tensor in found if tensor is not None and tensorrt.is_float(tensor.dtype)}


def has_qdq_layers(network: Any, tensorrt: TensorRT) -> bool:
    """Return whether the network has Q/DQ layers; TensorRT then ignores calibrator and ranges."""
    return any(tensorrt.is_quantizing(layer) for layer in layers(network))


def keep_layers(
    network: Any,
    config: Any,
    patterns: Mapping[str, Sequence[str]],
    *,
    tensorrt: TensorRT,
    constraints: Constraints = "obey",
) -> list[str]:
    """Constrain layers to a precision; later patterns override earlier patterns.

    This sets one of the two flags; without it, TensorRT treats ``layer.precision`` as a hint. ``patterns``
    maps ``fp16`` and ``fp32`` to names or globs of layers (for ONNX models the nodes' names).

    Returns:
        A line for each pattern, for people.

    Raises:
        BuildError: a pattern matches no layer that computes with floats; gives the nearest names.
    """
    candidates = {layer.name: layer for layer in layers(network) if _has_precision(layer, tensorrt)}
    lines = []
    for precision, listed in patterns.items():
        for pattern in listed:
            found = matching(pattern, candidates)
            if not found:
                raise BuildError(
                    f"keep_{precision}={pattern!r} matches no layer of the network; "
                    f"{nearest(pattern, candidates)}"
                )
            for name in found:
                candidates[name].precision = tensorrt.data_type(_TYPES[precision])
            count = f"{len(found)} {'layer' if len(found) == 1 else 'layers'}"
            lines.append(f"{precision} for {pattern}: {count} ({constraints})")
    if lines:
        config.set_flag(tensorrt.builder_flag(_FLAGS[constraints]))
    return lines


def _has_precision(layer: Any, tensorrt: TensorRT) -> bool:
    """Return whether the layer computes with floats; builds fail if other layers are constrained."""
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    floats = any(output is not None and tensorrt.is_float(output.dtype) for output in outputs)
    return floats and not tensorrt.is_constant(layer)

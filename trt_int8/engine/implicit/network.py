"""A network as TensorRT parsed it: its layers, its float tensors, and layers to keep out of INT8."""

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
    """All layers, in network order."""
    return [network.get_layer(index) for index in range(network.num_layers)]


def float_tensors(network: Any, tensorrt: TensorRT) -> dict[str, Any]:
    """Name → tensor for the inputs and every layer's outputs that hold floats, in network order.

    Integers and booleans take no part in INT8 calibration.
    """
    found = [network.get_input(index) for index in range(network.num_inputs)]
    for layer in layers(network):
        found += [layer.get_output(index) for index in range(layer.num_outputs)]
    return {tensor.name: tensor for tensor in found if tensor is not None and tensorrt.is_float(tensor.dtype)}


def has_qdq_layers(network: Any, tensorrt: TensorRT) -> bool:
    """Whether the network holds Q/DQ layers, for which TensorRT ignores calibrator and ranges."""
    return any(tensorrt.is_quantizing(layer) for layer in layers(network))


def keep_layers(
    network: Any,
    config: Any,
    patterns: Mapping[str, Sequence[str]],
    *,
    tensorrt: TensorRT,
    constraints: Constraints = "obey",
) -> list[str]:
    """Constrain the layers that ``patterns`` name to a precision; a later pattern wins.

    Without one of the two flags, which this sets, TensorRT takes ``layer.precision`` for a hint.

    Args:
        network, config: TensorRT's.
        patterns: ``fp16`` or ``fp32`` → names or globs of layers (for ONNX models the nodes' names).

    Returns:
        A line for each pattern, for people.

    Raises:
        BuildError: a pattern fits no layer that computes with floats; gives the nearest names.
    """
    candidates = {layer.name: layer for layer in layers(network) if _has_precision(layer, tensorrt)}
    lines = []
    for precision, listed in patterns.items():
        for pattern in listed:
            found = matching(pattern, candidates)
            if not found:
                raise BuildError(
                    f"keep_{precision}={pattern!r} fits no layer of the network; "
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
    """Whether the layer computes, and on floats: constraining others makes builds fail."""
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    computes_floats = any(output is not None and tensorrt.is_float(output.dtype) for output in outputs)
    return computes_floats and not tensorrt.is_constant(layer)

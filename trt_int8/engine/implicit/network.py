"""A parsed network as TensorRT holds it: layers, and the tensors that can have a dynamic range."""

from __future__ import annotations

from typing import Any

from trt_int8.engine.tensorrt import TensorRT


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

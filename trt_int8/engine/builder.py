"""Steps of both routes with TensorRT's builder: start it, parse the model, add an optimization profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.errors import BuildError, ShapeError
from trt_int8.graph.load import serialize
from trt_int8.graph.shapes import Shapes


@dataclass(frozen=True)
class SerializedEngine:
    """An engine as TensorRT serializes it.

    Attributes:
        data: the bytes to write to an engine file.
        target: name of the target.
        tensorrt: name and version of the TensorRT that built it.
        hand_set: tensor → bounds of the dynamic ranges set by hand, on the implicit route.
        profile: the optimization profile, by input; empty if the model's shapes are fixed.
    """

    data: bytes
    target: str
    tensorrt: str
    hand_set: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    profile: Shapes = field(default_factory=dict)


def start_builder(tensorrt: TensorRT, logger: Any, flags: int, *, log: BuildLog) -> tuple[Any, Any, Any]:
    """Return TensorRT's builder, an empty network with ``flags``, and a configuration.

    The caller keeps ``logger`` alive as long as the builder.

    Raises:
        BuildError: TensorRT does not start; without a driver the constructor of the builder itself fails.
    """
    try:
        builder = tensorrt.module.Builder(logger)
        network = builder.create_network(flags)
        return builder, network, builder.create_builder_config()
    except (TypeError, RuntimeError) as error:
        raise BuildError(f"{tensorrt.name} does not start", lines=log.errors or [str(error)]) from error


def parse_model(model: onnx.ModelProto, tensorrt: TensorRT, network: Any, logger: Any, log: BuildLog) -> None:
    """Fill ``network`` with TensorRT's ONNX parser; BuildError with its lines if it rejects the model."""
    parser = tensorrt.module.OnnxParser(network, logger)
    if parser.parse(serialize(model)):
        return
    lines = []
    for error in (parser.get_error(i) for i in range(parser.num_errors)):
        name = error.node_name() if hasattr(error, "node_name") else ""  # older parsers do not name the node
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        where = f"node {name!r} ({operator}): " if name or operator else ""
        lines.append(f"{where}{' '.join(str(error.desc()).split())}")
    raise BuildError(f"{tensorrt.name} cannot parse the model", lines=lines or log.errors)


def add_profile(builder: Any, network: Any, config: Any, shapes: Shapes) -> Any:
    """Add one optimization profile with ``shapes`` to ``config`` and return it; None without shapes.

    Raises:
        ShapeError: an input is a shape tensor, which needs a range of values instead of shapes.
    """
    if not shapes:
        return None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise ShapeError(
                f"input {tensor.name!r} is a shape tensor: its values set the shape of other tensors, "
                "which is not supported; make it a constant at export or with onnxsim --overwrite-input-shape"
            )
    profile = builder.create_optimization_profile()
    for name, wanted in shapes.items():
        profile.set_shape(name, wanted.min, wanted.opt, wanted.max)
    config.add_optimization_profile(profile)
    return profile

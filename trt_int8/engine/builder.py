"""What both routes do with TensorRT's builder: start it, parse the model, add a profile, keep the engine."""

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
        target: what it was built for.
        tensorrt: name and version of what built it.
        hand_set: tensor → bounds of the dynamic ranges set by hand, on the implicit route.
        profile: the optimization profile, by input; empty if the model's shapes are fixed. See
            `trt_int8.graph.shapes.profile_text`.
    """

    data: bytes
    target: str
    tensorrt: str
    hand_set: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    profile: Shapes = field(default_factory=dict)


def start_builder(tensorrt: TensorRT, logger: Any, flags: int, *, log: BuildLog) -> tuple[Any, Any, Any]:
    """Return TensorRT's builder, an empty network and a configuration.

    Args:
        tensorrt: which one.
        logger: from `TensorRT.logger`; the caller keeps it alive as long as the builder.
        flags: creation flags of the network.
        log: holds the lines for the error.

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
    """Have TensorRT's ONNX parser fill ``network``.

    Raises:
        BuildError: it refuses; carries its lines.
    """
    parser = tensorrt.module.OnnxParser(network, logger)
    if parser.parse(serialize(model)):
        return
    lines = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
    raise BuildError(f"{tensorrt.name} cannot parse the model", lines=lines or log.errors)


def _parser_error(error: Any) -> str:
    """One line for a ParserError; older parsers name no node."""
    name = error.node_name() if hasattr(error, "node_name") else ""
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    where = f"node {name!r} ({operator}): " if name or operator else ""
    return f"{where}{' '.join(str(error.desc()).split())}"


def add_profile(builder: Any, network: Any, config: Any, shapes: Shapes) -> Any:
    """Add one optimization profile with ``shapes`` to ``config`` and return it; None without shapes.

    Raises:
        ShapeError: an input of the network computes shapes (TensorRT's shape tensors), which needs
            values rather than shapes.
    """
    if not shapes:
        return None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise ShapeError(
                f"input {tensor.name!r} decides the shape of other tensors, so TensorRT wants a range of its "
                "values; make it a constant of the model (onnxsim --overwrite-input-shape, or at export)"
            )
    profile = builder.create_optimization_profile()
    for name, wanted in shapes.items():
        profile.set_shape(name, wanted.min, wanted.opt, wanted.max)
    config.add_optimization_profile(profile)
    return profile

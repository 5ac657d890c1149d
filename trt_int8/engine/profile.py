"""Optimization profiles: the shapes an engine for a dynamic model has to take."""

from __future__ import annotations

from typing import Any

from trt_int8.errors import ShapeError
from trt_int8.model.shape_range import Shapes


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

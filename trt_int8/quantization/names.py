"""Names that a graph does not have yet."""

from __future__ import annotations

import onnx

from trt_int8.model.graph import GraphIndex


class Names:
    """Gives out names for new tensors and nodes of a model, each once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._taken = set(GraphIndex(model).names)

    def fresh(self, wanted: str) -> str:
        """``wanted``, or with a number behind it if the model has that name already."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

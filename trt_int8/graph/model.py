"""A model that was read and checked once, with what is known of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import onnx

from trt_int8.graph.index import GraphIndex, has_qdq, opset_version
from trt_int8.graph.inputs import InputSpec, input_specs
from trt_int8.graph.load import load_model
from trt_int8.graph.tensors import element_types


@dataclass(frozen=True, eq=False)
class Model:
    """An ONNX model and facts about it, each found out when it is first asked for and then kept.

    Nothing here changes the proto, and neither may who holds the record: rewrite a copy and make a record of
    that. Make a record with `Model.of`, which reads and checks.

    Attributes:
        proto: the model, external weights included.
        path: the file it was read from; None for a model that came as a proto.
    """

    proto: onnx.ModelProto
    path: Path | None = None

    @classmethod
    def of(cls, model: ModelLike) -> Model:
        """Read and check ``model``; a record is returned as it is.

        Raises:
            ModelError: no such file, not ONNX, or refused by ``onnx.checker``.
        """
        if isinstance(model, Model):
            return model
        proto = load_model(model)
        return cls(proto, None if isinstance(model, onnx.ModelProto) else Path(model))

    @classmethod
    def unchecked(cls, model: onnx.ModelProto | Model) -> Model:
        """Return the record of a proto that was checked before, or was made here; a record as it is."""
        return model if isinstance(model, Model) else cls(model)

    @cached_property
    def inputs(self) -> Mapping[str, InputSpec]:
        """What a caller feeds, by name, in graph order.

        Raises:
            ModelError: the model has no input, or one that is no tensor of numbers.
        """
        return input_specs(self.proto)

    @cached_property
    def index(self) -> GraphIndex:
        """Producers, consumers and constants of the graph."""
        return GraphIndex(self.proto)

    @cached_property
    def opset(self) -> int:
        """The opset of the standard operators."""
        return opset_version(self.proto)

    @cached_property
    def element_types(self) -> Mapping[str, int]:
        """Tensor → ``onnx.TensorProto`` element type, as far as shape inference finds it.

        Raises:
            QuantizationError: shape inference finds a contradiction in the model.
        """
        return element_types(self.proto)

    @cached_property
    def holds_half(self) -> bool:
        """Whether some activation is float16 or bfloat16.

        Raises:
            QuantizationError: shape inference finds a contradiction in the model.
        """
        halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
        return any(self.element_types.get(name) in halves for name in self.index.order)

    @cached_property
    def has_qdq(self) -> bool:
        """Whether the model holds Q/DQ nodes at its top level."""
        return has_qdq(self.proto)


#: What functions take for a model: a file, a proto, or the record of either.
ModelLike: TypeAlias = "onnx.ModelProto | str | os.PathLike[str] | Model"

"""A model that is read and checked once, with facts about it."""

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
    """An ONNX model and facts about it, each computed on first use and then kept.

    The proto must not be changed: rewrite a copy, and make a record of the copy. `Model.of` reads and checks.

    Attributes:
        proto: the model, external weights included.
        path: the file it was read from; None for a proto.
    """

    proto: onnx.ModelProto
    path: Path | None = None

    @classmethod
    def of(cls, model: ModelLike) -> Model:
        """Read and check ``model``; a record is returned unchanged.

        Raises:
            ModelError: the file is missing, not ONNX, or rejected by ``onnx.checker``.
        """
        if isinstance(model, Model):
            return model
        proto = load_model(model)
        return cls(proto, None if isinstance(model, onnx.ModelProto) else Path(model))

    @classmethod
    def unchecked(cls, model: onnx.ModelProto | Model) -> Model:
        """Return the record of a proto that needs no check; a record is returned unchanged."""
        return model if isinstance(model, Model) else cls(model)

    @cached_property
    def inputs(self) -> Mapping[str, InputSpec]:
        """The inputs to feed, see `trt_int8.graph.inputs.input_specs`."""
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
        """Tensor → ``onnx.TensorProto`` element type, see `trt_int8.graph.tensors.element_types`."""
        return element_types(self.proto)

    @cached_property
    def holds_half(self) -> bool:
        """Whether some activation is float16 or bfloat16."""
        halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
        return any(self.element_types.get(name) in halves for name in self.index.order)

    @cached_property
    def has_qdq(self) -> bool:
        """Whether the model has Q/DQ nodes at its top level."""
        return has_qdq(self.proto)


#: A model as an argument: a file, a proto, or the record of either.
ModelLike: TypeAlias = "onnx.ModelProto | str | os.PathLike[str] | Model"

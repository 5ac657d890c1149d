"""Identify a model by a hash of its content, external weights included."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from trt_int8.errors import ModelError


def model_id(model: onnx.ModelProto | str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a model: of its file and its external data, or of its serialized form."""
    digest = hashlib.sha256()
    if isinstance(model, onnx.ModelProto):
        digest.update(model.SerializeToString(deterministic=True))
        return digest.hexdigest()
    path = Path(model)
    try:
        digest.update(path.read_bytes())
        for name in external_files(onnx.load(path, format="protobuf", load_external_data=False)):
            with (path.parent / name).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def external_files(model: onnx.ModelProto) -> list[str]:
    """Return the names of the files with external data of ``model``, relative to its own, sorted."""
    return sorted(
        {
            ExternalDataInfo(tensor).location
            for graph in (model.graph, *model.functions)
            for tensor in _tensors(graph)
            if uses_external_data(tensor)
        }
    )


def _tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Yield tensors of initializers and attributes, in subgraphs too."""
    if isinstance(graph, onnx.GraphProto):
        yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)

"""Identify a model by a hash of its content, external weights included."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from trt_int8.errors import ModelError
from trt_int8.files.inputs import read_input
from trt_int8.graph.check import all_tensors


def model_id(model: onnx.ModelProto | str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a model: of its file and its external data, or of its serialized form."""
    digest = hashlib.sha256()
    if isinstance(model, onnx.ModelProto):
        digest.update(model.SerializeToString(deterministic=True))
        return digest.hexdigest()
    path = Path(model)
    try:
        data = read_input(path)
        digest.update(data)
        for name in external_files(onnx.load_model_from_string(data, format="protobuf")):
            with (path.parent / name).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def external_files(model: onnx.ModelProto) -> list[str]:
    """Return the names of the files with external data of ``model``, relative to its own, sorted."""
    return sorted(
        {ExternalDataInfo(tensor).location for tensor in all_tensors(model) if uses_external_data(tensor)}
    )

"""Write a model with its weights inside, or in a second file if its source has external weights."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from trt_int8.files import atomic
from trt_int8.graph.load import PROTOBUF_LIMIT, save_model, serialized_size

#: Smaller tensors stay in the .onnx file.
_SMALLEST = 1024


def save_like(
    model: onnx.ModelProto, path: str | os.PathLike[str], *, source: str | os.PathLike[str] | None
) -> None:
    """Write ``model`` to ``path``, and its weights to ``<path>.data`` if those of ``source`` are external.

    Weights are also external if the model is larger than one protobuf message. The data file is written
    first, each file in one step.

    Raises:
        OutputError: a file cannot be written.
    """
    if (source is not None and has_external_data(source)) or serialized_size(model) > PROTOBUF_LIMIT:
        _save_external(model, Path(path))
    else:
        save_model(model, path)


def has_external_data(path: str | os.PathLike[str]) -> bool:
    """Return whether the model file has external weights."""
    graph = onnx.load(path, format="protobuf", load_external_data=False).graph
    return any(uses_external_data(tensor) for tensor in graph.initializer)


def _save_external(model: onnx.ModelProto, path: Path) -> None:
    light = onnx.ModelProto()
    light.CopyFrom(model)
    data = bytearray()
    for tensor in light.graph.initializer:
        raw = tensor.raw_data
        if len(raw) < _SMALLEST:
            continue
        data.extend(b"\0" * (-len(data) % 4096))  # readers map the file, so tensors start on pages
        onnx.external_data_helper.set_external_data(tensor, f"{path.name}.data", len(data), len(raw))
        data.extend(raw)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    beside = path.with_name(f"{path.name}.data")
    existed = beside.exists()
    atomic.write_bytes(beside, data)
    try:
        atomic.write_bytes(path, light.SerializeToString())
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                beside.unlink()
        raise

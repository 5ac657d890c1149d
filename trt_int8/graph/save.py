"""Write a model with its weights inside, or in a second file if its source has external weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from trt_int8.files import atomic
from trt_int8.files.outputs import FilePath, check_outputs
from trt_int8.graph.identity import external_files
from trt_int8.graph.load import PROTOBUF_LIMIT, save_model, serialized_size

#: Smaller tensors stay in the .onnx file.
_SMALLEST = 1024


def save_like(model: onnx.ModelProto, path: FilePath, *, source: FilePath | None) -> None:
    """Write ``model`` to ``path``, and its weights to ``<path>.data`` if those of ``source`` are external.

    Weights are also external if the model is larger than one protobuf message. The data file is written
    first, each file in one step.

    Raises:
        OutputError: a file cannot be written, or would overwrite weights of ``source``.
    """
    if external := source is not None and has_external_data(source):
        check_saving({"saved model": path}, inputs={"model": source})
    if external or serialized_size(model) > PROTOBUF_LIMIT:
        _save_external(model, Path(path))
    else:
        save_model(model, path)


def check_saving(outputs: Mapping[str, FilePath], *, inputs: Mapping[str, FilePath]) -> None:
    """`check_outputs`, also of the external weights of the input ``"model"`` and of output models."""
    weights = _weight_files(inputs["model"]) if "model" in inputs else []
    read = {f"weights of the model (file {n})": path for n, path in enumerate(weights, start=1)}
    written = {f"{w} (its weights)": f"{os.fspath(p)}.data" for w, p in outputs.items() if "model" in w}
    check_outputs({**outputs, **written} if weights else outputs, inputs={**inputs, **read})


def has_external_data(path: FilePath) -> bool:
    """Return whether the model file has external weights."""
    return bool(_weight_files(path))


def _weight_files(path: FilePath) -> list[Path]:
    """Return the files with external weights; none if the model cannot be read, which loading it reports."""
    try:
        if not Path(path).is_file():  # reading a pipe would empty it
            return []
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (OSError, DecodeError, UnicodeDecodeError, ValueError):
        return []
    return [Path(path).parent / name for name in external_files(model)]


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
    if not data:
        save_model(model, path)
        return
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

"""Write a model with its weights inside, or in a second file if its source has external weights."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from trt_int8.errors import OutputError
from trt_int8.files import atomic
from trt_int8.files.outputs import check_outputs
from trt_int8.files.places import FilePath, is_stream
from trt_int8.graph.identity import external_files
from trt_int8.graph.load import PROTOBUF_LIMIT, save_model, serialize, serialized_size

#: Smaller tensors stay in the .onnx file.
_SMALLEST = 1024


def save_like(model: onnx.ModelProto, path: FilePath, *, source: FilePath | None) -> None:
    """Write ``model`` to ``path``, with external weights if those of ``source`` are external.

    Weights are also external if the model is larger than one protobuf message. Their file is named after
    its content, ``<path>.<hash>.data``, and the model is written after it: a reader finds the old model with
    its old weights, or the new one with its new weights. Weights of older versions of ``path`` are removed
    afterwards, unless another model in the folder has their name in it.

    Raises:
        OutputError: a file cannot be written, or would overwrite weights of ``source``.
    """
    if external := source is not None and has_external_data(source):
        check_saving({"saved model": path}, inputs={"model": source})
    if external or serialized_size(model) > PROTOBUF_LIMIT:
        _save_external(model, path)
    else:
        save_model(model, path)
        if not is_stream(path):
            _remove_unused(Path(os.path.realpath(path)))


def check_saving(outputs: Mapping[str, FilePath], *, inputs: Mapping[str, FilePath]) -> None:
    """`check_outputs`, also of the external weights of the input ``"model"`` and of output models."""
    weights = _weight_files(inputs["model"]) if "model" in inputs else []
    read = {f"weights of the model (file {n})": path for n, path in enumerate(weights, start=1)}
    models = {what: path for what, path in outputs.items() if "model" in what} if weights else {}
    for what, path in models.items():
        _require_neighbours(path)
        if any(os.path.realpath(f"{os.fspath(path)}.data") == os.path.realpath(file) for file in weights):
            raise OutputError(
                f"the {what} {path} would overwrite {path}.data, which has weights of the model "
                f"{inputs['model']}; choose another name for it"
            )
    named = {f"{what} (its weights)": _data_file(Path(path), "0" * 16) for what, path in models.items()}
    check_outputs({**outputs, **named}, inputs={**inputs, **read})


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


def _save_external(model: onnx.ModelProto, path: FilePath) -> None:
    light = onnx.ModelProto()
    light.CopyFrom(model)
    large = [tensor for tensor in light.graph.initializer if len(tensor.raw_data) >= _SMALLEST]
    if not large:
        save_model(model, path)
        return
    _require_neighbours(path)
    with atomic.Staged(path) as file, atomic.Staged(_data_file(file.target, "0" * 16)) as weights:
        digest = hashlib.sha256()
        spans = [_add(weights, digest, tensor.raw_data) for tensor in large]
        weights.target = _data_file(file.target, digest.hexdigest()[:16])
        for tensor, (offset, size) in zip(large, spans, strict=True):
            onnx.external_data_helper.set_external_data(tensor, weights.target.name, offset, size)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
        file.write(serialize(light))
        with atomic.locked(file.target.parent):
            existed = weights.target.exists()
            try:
                atomic.commit(weights)
                atomic.commit(file)
            except BaseException:
                if not existed and not file.committed:
                    weights.target.unlink(missing_ok=True)
                raise
            _remove_unused(file.target, keep=weights.target.name)


def _require_neighbours(path: FilePath) -> None:
    """Refuse a model with external weights where no reader would find a file beside it."""
    if is_stream(path):
        reason = "which need a file beside it; give the name of a regular file"
    elif os.path.realpath(Path(path).parent) != os.path.dirname(os.path.realpath(path)):
        reason = "which are not found through a link to another folder; give the name of the file itself"
    else:
        return
    raise OutputError(f"cannot write {path}: the model has external weights, {reason}")


def _data_file(path: Path, content: str) -> Path:
    """Return the file for the external weights of ``path`` with this hash of their content."""
    name = f"{path.name}.{content}.data"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise OutputError(
            f"cannot write {path}: the model has external weights, and ONNX stores the name of their file in "
            "UTF-8, which this name is not; choose another name"
        ) from error
    return path.with_name(name)


def _add(weights: atomic.Staged, digest: hashlib._Hash, raw: bytes) -> tuple[int, int]:
    """Write a tensor on a new page, because readers map the file. Return its offset and size."""
    offset = weights.file.tell()
    padding = b"\0" * (-offset % 4096)
    for block in (padding, raw):
        weights.write(block)
        digest.update(block)
    return offset + len(padding), len(raw)


def _remove_unused(path: Path, *, keep: str = "") -> None:
    """Remove weights of older versions of ``path`` whose file name stands in no model of the folder."""
    ours = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    with contextlib.suppress(OSError):  # what cannot be read may name them, so they stay
        files = [file for file in path.parent.iterdir() if file.is_file()]
        old = [file for file in files if ours.fullmatch(file.name) and file.name != keep]
        others = [file for file in files if not ours.fullmatch(file.name)]
        for data in old:
            if not any(_names(file, data.name) for file in others):
                data.unlink()


def _names(path: Path, name: str) -> bool:
    """Return whether ``path`` may be a model that has ``name`` in it."""
    with path.open("rb") as file:
        # A serialized model begins with the key of ir_version, its field 1.
        if file.read(1) != b"\x08":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(name.encode()) >= 0

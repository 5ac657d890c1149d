"""Write a model with its weights inside, or in a second file if its source has external weights."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
from collections.abc import Iterator, Mapping
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
    """Write ``model`` to ``path``; see `staged_like`.

    Raises:
        OutputError: a file cannot be written, or would overwrite weights of ``source``.
    """
    if is_stream(path):
        if _is_external(model, path, source):
            _require_neighbours(path)
        save_model(model, path)
        return
    with staged_like(model, path, source=source) as file:
        atomic.commit(file)


@contextlib.contextmanager
def staged_like(
    model: onnx.ModelProto, path: FilePath, *, source: FilePath | None
) -> Iterator[atomic.Staged]:
    """Yield the file of ``model``, to be committed. Its weights are external if those of ``source`` are.

    Weights are also external if the model is larger than one protobuf message. Their file is named after
    its content, ``<path>.<hash>.data``, and is there before the model: a reader finds the old model with its
    old weights, or the new one with its new weights. Weights of older versions of ``path`` are removed
    afterwards, unless another model in the folder has their name in it.

    Raises:
        OutputError: a file cannot be written, or would overwrite weights of ``source``.
    """
    external = _is_external(model, path, source)
    with atomic.Staged(path) as file, contextlib.ExitStack() as stack:
        weights = None
        if external and any(len(tensor.raw_data) >= _SMALLEST for tensor in model.graph.initializer):
            _require_neighbours(path)
            weights = stack.enter_context(atomic.Staged(_data_file(file.target, "0" * 16)))
            model = _with_weights_in(model, weights, beside=file.target)
        file.write(serialize(model))
        file.file.flush()  # so that nobody takes the weights for unused
        existed = weights is not None and weights.target.exists()
        try:
            if weights is not None:
                atomic.commit(weights)
            yield file
        finally:
            if file.committed:
                _remove_unused(file.target)
            elif weights is not None and weights.committed and not existed:
                weights.target.unlink(missing_ok=True)


def _is_external(model: onnx.ModelProto, path: FilePath, source: FilePath | None) -> bool:
    """Return whether the weights go to a file of their own; refuse to overwrite those of ``source``."""
    if source is not None and has_external_data(source):
        check_saving({"saved model": path}, inputs={"model": source})
        return True
    return serialized_size(model) > PROTOBUF_LIMIT


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


def _with_weights_in(model: onnx.ModelProto, weights: atomic.Staged, *, beside: Path) -> onnx.ModelProto:
    """Write the large weights to a file, whose target is set, and return the model that refers to it."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    large = [tensor for tensor in light.graph.initializer if len(tensor.raw_data) >= _SMALLEST]
    digest = hashlib.sha256()
    spans = [_add(weights, digest, tensor.raw_data) for tensor in large]
    weights.target = _data_file(beside, digest.hexdigest()[:16])
    for tensor, (offset, size) in zip(large, spans, strict=True):
        onnx.external_data_helper.set_external_data(tensor, weights.target.name, offset, size)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    return light


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


def _remove_unused(path: Path) -> None:
    """Remove weights of versions of ``path`` whose file name stands in no model of the folder."""
    ours = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    with contextlib.suppress(OSError):  # what cannot be read may name them, so they stay
        files = [file for file in path.parent.iterdir() if file.is_file()]
        unused = [file for file in files if ours.fullmatch(file.name) and not _names(path, file.name)]
        others = [file for file in files if not ours.fullmatch(file.name)]
        for data in unused:
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

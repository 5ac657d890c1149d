"""Read and write ONNX files."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from trt_int8.errors import ModelError
from trt_int8.files import atomic
from trt_int8.files.inputs import read_input
from trt_int8.graph.check import check_external_data, check_functions, check_tensors, check_texts

#: The largest message in bytes that protobuf can serialize.
PROTOBUF_LIMIT = 2**31 - 1


def load_model(model: onnx.ModelProto | str | os.PathLike[str]) -> onnx.ModelProto:
    """Read and check an ONNX model, external data included.

    A model in memory is checked and returned.

    Raises:
        ModelError: the file is missing, not ONNX, or rejected by ``onnx.checker``.
    """
    if isinstance(model, onnx.ModelProto):
        _check(model, "the model in memory")
        return model
    require_model(model)
    path = Path(model)
    if os.path.isdir(path):
        raise ModelError(f"{path} is a folder, not an ONNX file; give the .onnx file in it")
    try:
        # Always ONNX's binary format, whatever the suffix of the file.
        data = read_input(path, limit=PROTOBUF_LIMIT)
        loaded = onnx.load_model_from_string(data, format="protobuf")
        del data
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; check the path of the ONNX model") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(
            f"{path}: not an ONNX file, or a damaged one (protobuf: {error}); export or copy it again"
        ) from error
    _require_graph(loaded, str(path))
    try:
        check_external_data(loaded, path.parent)
        onnx.load_external_data_for_model(loaded, str(path.parent))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its external weights cannot be read: {_first_line(error)}; "
            "keep the data files in the folder of the .onnx file"
        ) from error
    _check(loaded, str(path))
    return loaded


def require_model(model: object) -> None:
    """Check that ``model`` is a path or an ONNX model."""
    if isinstance(model, str | os.PathLike | onnx.ModelProto):
        return
    kind = type(model).__name__
    if isinstance(getattr(model, "model", None), onnx.ModelProto):
        raise ModelError(f"the model is a {kind}; give its .model")
    if isinstance(model, bytes | bytearray):
        raise ModelError("the model is given as bytes; give onnx.load_model_from_string(bytes), or a path")
    raise ModelError(f"the model is {model!r:.80} ({kind}); give the path of an ONNX file or a ModelProto")


def save_model(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` in one step.

    Raises:
        ModelError: the model is larger than 2 GiB, the limit of one protobuf message.
        OutputError: the file cannot be written.
    """
    atomic.write_bytes(path, serialize(model))


def serialize(model: onnx.ModelProto) -> bytes:
    """Return ``model`` as bytes.

    Raises:
        ModelError: the model is larger than 2 GiB, the limit of one protobuf message.
    """
    if serialized_size(model) > PROTOBUF_LIMIT:
        raise ModelError("the model with its weights is larger than protobuf's limit of 2 GiB; split it")
    return bytes(model.SerializeToString())


def serialized_size(model: onnx.ModelProto) -> float:
    """Return the serialized size in bytes; inf if protobuf cannot compute it."""
    try:
        return float(model.ByteSize())
    except EncodeError:
        return float("inf")


def _require_graph(model: onnx.ModelProto, place: str) -> None:
    # Almost any short byte string decodes as an empty protobuf message.
    if not model.graph.node:
        raise ModelError(
            f"{place}: has no ONNX graph (0 nodes): not an ONNX file, or a damaged or empty one; export or "
            "copy it again"
        )


def _check(model: onnx.ModelProto, place: str) -> None:
    _require_graph(model, place)
    try:
        check_texts(model)
        check_functions(model)
        check_tensors(model)
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error
    if serialized_size(model) > PROTOBUF_LIMIT:
        return  # the checker needs a serialized model
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # a damaged file can raise anything, such as UnicodeDecodeError
        raise ModelError(f"{place}: rejected by onnx.checker: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

"""Check what ``onnx.checker`` does not: values of tensors, places of external data, and calls of functions.

Later steps rely on it: they read values without further checks, and runtimes expand functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from trt_int8.errors import ModelError
from trt_int8.files.inputs import free_memory, size_text
from trt_int8.graph.index import all_nodes, bodies

#: The most nodes that a model may have after its functions are expanded; runtimes need minutes for more.
_EXPANDED = 50_000
#: The most functions that may call each other in a chain, as in onnx and onnxruntime.
_CHAIN = 100
#: Element types without their size in their name → bits per element.
_BITS = {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8}
#: Element type → the field of its values outside ``raw_data``, and the elements per value; else int32_data.
_FIELDS = {
    "FLOAT": ("float_data", 1.0),
    "DOUBLE": ("double_data", 1.0),
    "INT64": ("int64_data", 1.0),
    "UINT32": ("uint64_data", 1.0),
    "UINT64": ("uint64_data", 1.0),
    "STRING": ("string_data", 1.0),
    "COMPLEX64": ("float_data", 0.5),
    "COMPLEX128": ("double_data", 0.5),
}
_FunctionKey = tuple[str, str, str]


def check_texts(model: onnx.ModelProto) -> None:
    """Check that all names and other texts are UTF-8: protobuf would return bytes for them.

    Raises:
        ModelError: one is not; with the field and the first bytes.
    """
    messages: list[Message] = [model]
    while messages:
        for field, value in messages.pop().ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                messages += [value] if isinstance(value, Message) else value
            elif field.type == FieldDescriptor.TYPE_STRING:
                for text in [value] if isinstance(value, str | bytes) else value:
                    if isinstance(text, bytes):
                        raise ModelError(
                            f"the {field.name} {text[:40]!r} is not UTF-8 text; rename it, or export the "
                            "model again"
                        )


def check_tensors(model: onnx.ModelProto) -> None:
    """Check that each tensor has a known type and as many values as its dims say.

    Raises:
        ModelError: one has not; with its name and both sizes.
    """
    for tensor in all_tensors(model):
        if not uses_external_data(tensor):
            _check_values(tensor)


def check_external_data(model: onnx.ModelProto, folder: Path) -> None:
    """Check that the external data of each tensor lies within its file, before it is read.

    Raises:
        ModelError: it does not; with the name of the tensor and the numbers.
        OSError: there is no such file.
    """
    total, free = 0, free_memory()
    for tensor in all_tensors(model):
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        path = folder / info.location
        if path.is_symlink():
            raise ModelError(
                f"{path} is a symbolic link, which onnx does not follow for external weights; replace it by "
                "the file itself, for instance with cp -L"
            )
        if path.exists() and not path.is_file():
            raise ModelError(f"{path}: not a regular file; external weights must be in one")
        size = path.stat().st_size
        start, length = info.offset or 0, info.length
        expected = _bytes(tensor)
        length = expected if length is None else length
        if length != expected or start < 0 or start + length > size:
            raise ModelError(
                f"tensor {tensor.name!r} {list(tensor.dims)} needs {expected} bytes, and its external data "
                f"is {length} bytes at {start} of {path}, which has {size}; export or copy the model again"
            )
        total += length
        if total > free:
            raise ModelError(
                f"its external weights need more than the {size_text(free)} of memory that are free; stop "
                "other programs, or use a machine with more memory"
            )


def check_functions(model: onnx.ModelProto) -> None:
    """Check that no function calls itself, and that the model stays small when functions are expanded.

    Raises:
        ModelError: with the number of nodes, or the name of the function.
    """
    functions = {_key(function): function for function in model.functions}
    known: dict[_FunctionKey, tuple[int, int]] = {}

    def expanded(
        graph: onnx.GraphProto | onnx.FunctionProto, callers: tuple[_FunctionKey, ...]
    ) -> tuple[int, int]:
        """Return the number of nodes, and the functions in the longest chain of calls."""
        count, longest = 0, 0
        for node in all_nodes(graph):
            key = (node.domain, node.op_type, node.overload)
            if key not in functions:
                count += 1
                continue
            if key in callers:
                raise ModelError(
                    f"function {node.op_type!r} of domain {node.domain!r} calls itself, so it cannot be "
                    "expanded; export the model without functions"
                )
            if key not in known and len(callers) < _CHAIN:
                known[key] = expanded(functions[key], (*callers, key))
            inner, chain = known.get(key, (0, _CHAIN))
            count, longest = count + inner, max(longest, chain + 1)
        if longest > _CHAIN:
            raise ModelError(
                f"functions call each other in a chain of more than {_CHAIN}; export the model without "
                "functions"
            )
        return count, longest

    if functions:
        count, _ = expanded(model.graph, ())
        if count > _EXPANDED:
            number = str(count) if count < 10**12 else f"10^{len(str(count)) - 1}"
            raise ModelError(
                f"the model has {number} nodes when its functions are expanded, more than {_EXPANDED}; "
                "export the model without functions, or a smaller one"
            )


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield the initializers and attributes of the graph, of functions and of the bodies of their nodes."""
    for part in (model.graph, *model.functions):
        for graph in _graphs(part):
            sparse: list[onnx.SparseTensorProto] = []
            attributes = [attribute for node in graph.node for attribute in node.attribute]
            if isinstance(graph, onnx.GraphProto):
                yield from graph.initializer
                sparse += graph.sparse_initializer
            else:
                attributes += graph.attribute_proto
            for attribute in attributes:
                yield from ([attribute.t] if attribute.HasField("t") else [])
                yield from attribute.tensors
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
            for pair in sparse:
                yield from (pair.values, pair.indices)


def _graphs(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)


def _check_values(tensor: onnx.TensorProto) -> None:
    elements = _elements(tensor)
    name = TensorProto.DataType.Name(tensor.data_type)
    if tensor.HasField("raw_data"):
        found, expected, unit = len(tensor.raw_data), _bytes(tensor), "bytes"
    else:
        bits = _bits(tensor)
        field, each = _FIELDS.get(name, ("int32_data", 8 // bits if bits and bits < 8 else 1))
        found, expected, unit = len(getattr(tensor, field)), math.ceil(elements / each), f"values in {field}"
    if found != expected:
        raise ModelError(
            f"tensor {tensor.name!r}, {name.lower()} {list(tensor.dims)}, needs {expected} {unit} and has "
            f"{found}; export or copy the model again"
        )


def _elements(tensor: onnx.TensorProto) -> int:
    if tensor.data_type not in TensorProto.DataType.values() or not tensor.data_type:
        raise ModelError(
            f"tensor {tensor.name!r} has the unknown data type {tensor.data_type}; export or copy the "
            "model again"
        )
    if min(tensor.dims, default=0) < 0:
        raise ModelError(
            f"tensor {tensor.name!r} has the dims {list(tensor.dims)}; export or copy the model again"
        )
    return math.prod(tensor.dims)


def _bytes(tensor: onnx.TensorProto) -> int:
    return -(-_elements(tensor) * _bits(tensor) // 8)


def _bits(tensor: onnx.TensorProto) -> int:
    """Return the bits of an element: the first number in the name of its type. 0 for strings."""
    name = TensorProto.DataType.Name(tensor.data_type)
    number = re.search(r"\d+", name)
    return _BITS.get(name, int(number[0]) if number else 0)


def _key(function: onnx.FunctionProto) -> _FunctionKey:
    return function.domain, function.name, function.overload

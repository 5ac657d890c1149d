"""Read and write onnxruntime's calibration tables for its TensorRT execution provider.

They contain ranges, not scales. There are four formats:

- ``ort-flatbuffers``: key and value strings; the provider reads it (``calibration.flatbuffers``);
- ``ort-cache``: ``name 2.64``, one per line (``calibration.cache``);
- ``ort-json``: ``{"name": [lowest, highest]}`` (``calibration.json``);
- ``ort-tensors``: the JSON of ``onnxruntime.quantization.calibrate.load_tensors_data``, float32.

All can be read, and also the ``calibration.json`` of newer releases, whose values are objects. Files that are
damaged, and values that a format cannot represent, raise `CacheError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from trt_int8.dependencies import require
from trt_int8.errors import CacheError
from trt_int8.printable import json_text

#: Slots of the table in a flatbuffers vtable: 4, 6, … for fields 0, 1, …
_FIELD_0, _FIELD_1 = 4, 6


def amax_of(value: Any, place: str) -> float:
    """Return max(|lowest|, |highest|) of one tensor, given as a number, a pair, or a TensorData object."""
    if isinstance(value, dict) and "lowest" in value and "highest" in value:
        value = [_number(value["lowest"], place), _number(value["highest"], place)]
    if isinstance(value, list) and len(value) == 2:
        low, high = (_number(bound, place) for bound in value)
        if low > high:
            raise CacheError(f"{place}: lowest {low:g} is above highest {high:g}; correct the entry")
        return max(abs(low), abs(high))
    amax = _number(value, place)
    if amax < 0:
        raise CacheError(f"{place}: range {amax:g} is negative; correct the entry")
    return amax


def _number(value: Any, place: str) -> float:
    if isinstance(value, dict) and value.get("CLS") == "numpy.array":
        value = value.get("data")
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        if value == ".inf":  # as YAML writes it
            value = "inf"
        number = math.nan if isinstance(value, bool | list | dict) or value is None else float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise CacheError(f"{place}: {value!r:.80} is not a range; write amax (2.64) or [lowest, highest]")
    return number


def parse_decimal(text: str, source: str) -> dict[str, float]:
    """Read ``name value`` lines; names may have spaces."""
    found: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, value = line.rstrip().rpartition(" ")
        place = f"{source}:{number}"
        if not name:
            raise CacheError(
                f"{place}: {line[:80]!r} is not 'tensor value', so the file is not a calibration table"
            )
        if name in found:
            raise CacheError(f"{place}: tensor {name!r} is listed twice; remove one of the lines")
        found[name] = amax_of(value, place)
    return found


def parse_flatbuffers(data: bytes, source: str) -> dict[str, float]:
    """Read the ``dict`` vector of a ``TrtTable``."""
    flatbuffers = require("flatbuffers", purpose="reading an onnxruntime table")
    table_module = require("flatbuffers.table", purpose="reading an onnxruntime table")
    try:
        root = table_module.Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
        vector = root.Offset(_FIELD_0)
        length = root.VectorLen(vector) if vector else 0
        if not vector or length * 4 > len(data):
            raise ValueError("no table of tensors")
        pairs = []
        for i in range(length):
            entry = table_module.Table(data, root.Indirect(root.Vector(vector) + 4 * i))
            pairs.append([_string(entry, slot) for slot in (_FIELD_0, _FIELD_1)])
    except (struct.error, ValueError, IndexError, OverflowError, TypeError) as error:
        found = "a zip file" if data.startswith(b"PK") else "binary, but not a table, or truncated"
        raise CacheError(
            f"{source}: neither text nor an onnxruntime calibration table ({found}); give a calibration "
            "cache, or a file that trt-int8 cache convert wrote"
        ) from error
    return {name: amax_of(value, f"{source}: tensor {name!r}") for name, value in pairs}


def _string(table: Any, slot: int) -> str:
    offset = table.Offset(slot)
    if not offset:
        raise ValueError("an entry without name or value")
    text = bytes(table.String(offset + table.Pos))
    start = table.Indirect(offset + table.Pos)
    (length,) = struct.unpack_from("<I", table.Bytes, start)
    if len(text) != length or start + 4 + length >= len(table.Bytes):  # a NUL follows
        raise ValueError("truncated")
    return text.decode("utf-8")


def to_flatbuffers(amax: Mapping[str, float]) -> bytes:
    """Write a ``TrtTable``."""
    flatbuffers = require("flatbuffers", purpose="writing an onnxruntime table")
    builder = flatbuffers.Builder(1024)
    entries = []
    for name in sorted(amax):
        strings = [builder.CreateString(name), builder.CreateString(repr(float(amax[name])))]
        builder.StartObject(2)
        for field, string in enumerate(strings):
            builder.PrependUOffsetTRelativeSlot(field, string, 0)
        entries.append(builder.EndObject())
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def to_decimal(amax: Mapping[str, float]) -> str:
    """Write ``name value`` lines."""
    for name in amax:
        if "\n" in name or "\r" in name:
            raise CacheError(f"tensor name {name!r} has a line break, which this format cannot have")
    return "".join(f"{name} {float(amax[name])!r}\n" for name in sorted(amax))


def to_json(amax: Mapping[str, float]) -> str:
    """Write ``{"name": [lowest, highest]}``."""
    return _dump({name: [-value, value] for name, value in amax.items()}, amax)


def to_tensors_json(amax: Mapping[str, float]) -> str:
    """Write the JSON that ``load_tensors_data`` of onnxruntime reads."""

    with np.errstate(over="ignore"):
        amax = {name: float(np.float32(value)) for name, value in amax.items()}

    def array(value: float) -> dict[str, Any]:
        return {"data": value, "dtype": "float32", "CLS": "numpy.array"}

    tensors = {
        name: {"lowest": array(-value), "highest": array(value), "CLS": "TensorData"}
        for name, value in amax.items()
    }
    method = {"CLS": "CalibrationMethod", "value": "CalibrationMethod.MinMax"}
    return _dump({"CLS": "TensorsData", "data": tensors, "calibration_method": method}, amax)


def _dump(document: Any, amax: Mapping[str, float]) -> str:
    for name, value in amax.items():
        if math.isinf(value):
            raise CacheError(f"tensor {name!r} has an infinite range, which JSON cannot have; unset it first")
    return json_text(document, indent=1) + "\n"

"""Read a DLPack capsule: https://dmlc.github.io/dlpack/latest/c_api.html, the unversioned struct."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

#: kDLCPU, kDLCUDAHost (pinned)
HOST_KINDS = (1, 3)
#: kDLCUDA, kDLCUDAManaged
CUDA_KINDS = (2, 13)

_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: address, shape, numpy's name of its dtype, strides in elements (None: C order)."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def read(capsule: Any) -> Tensor:
    """The tensor in a capsule named "dltensor", which stays unconsumed: keep it while the memory is in use.

    Raises:
        TypeError: not such a capsule, or its elements are vectors or of an unknown type.
    """
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        # A DLManagedTensor begins with its DLTensor.
        tensor = _DLTensor.from_address(get_pointer(capsule, b"dltensor"))
    except ValueError as error:
        raise TypeError(f"not an unconsumed DLPack capsule ({error})") from error
    if tensor.lanes != 1 or tensor.code not in _CODES:
        raise TypeError(f"DLPack type code {tensor.code} with {tensor.lanes} lanes")
    kind = _CODES[tensor.code]
    axes = range(tensor.ndim)
    return Tensor(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[axis] for axis in axes),
        dtype=kind if kind == "bool" else f"{kind}{tensor.bits}",
        strides=tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
    )

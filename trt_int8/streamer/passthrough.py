"""Recognize and check arrays that are already on the GPU (torch, cupy, DALI, numba); they are not copied.

They have the CUDA array interface or DLPack: https://dmlc.github.io/dlpack/latest/c_api.html, the
unversioned struct.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_int8.errors import DataError

#: kDLCPU, kDLCUDAHost (pinned)
HOST_KINDS = (1, 3)
#: kDLCUDA, kDLCUDAManaged
CUDA_KINDS = (2, 13)
_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


@dataclass(frozen=True)
class DlpackTensor:
    """Address, shape, numpy's name of the dtype, and strides in elements (None: C order) of a tensor."""

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


def read(capsule: Any) -> DlpackTensor:
    """Read the tensor in a capsule named "dltensor". Keep the capsule while the memory is in use."""
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
    return DlpackTensor(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[axis] for axis in axes),
        dtype=kind if kind == "bool" else f"{kind}{tensor.bits}",
        strides=tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
    )


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array in GPU memory that its producer owns.

    Attributes:
        pointer: address of the first element.
        shape: elements per axis.
        dtype: numpy's name of the dtype, or "bfloat16".
        ordered: whether the producer's pending work is done before later work on our stream.
        owner: keeps the memory alive while it is referenced.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    ordered: bool
    owner: Any


def device_array(
    value: Any, *, place: str, ordinal: int, stream: int, device_of: Callable[[int], int | None]
) -> DeviceArray | None:
    """Return ``value`` as an array on the GPU ``ordinal``; None if it is on the host.

    ``place`` is its name in messages, ``stream`` the handle of the CUDA stream that will use it.
    ``device_of`` returns the GPU of an address, or None for an address that CUDA does not know.

    Raises:
        DataError: it is on another device, not C-contiguous, masked, or cannot be exported.
    """
    try:
        if hasattr(value, "__dlpack_device__"):
            kind, device = (int(part) for part in value.__dlpack_device__())
            if kind in HOST_KINDS:
                return None
            if kind not in CUDA_KINDS:
                raise DataError(
                    f"{place}: DLPack device type {kind} is not CUDA; move it to the host or to CUDA"
                )
            _check_device(place, device, ordinal)
            # The capsule returns the tensor to its producer when it is garbage-collected.
            capsule = value.__dlpack__(stream=stream)
            return _checked(place, read(capsule), owner=(capsule, value), ordered=True)
        interface = getattr(value, "__cuda_array_interface__", None)
    except (BufferError, RuntimeError, TypeError) as error:
        raise DataError(f"{place}: {type(value).__name__} cannot be shared: {error}") from error
    if interface is None:
        return None
    if interface.get("mask") is not None:
        raise DataError(f"{place}: masked arrays are not supported; fill the masked elements")
    dtype, strides = np.dtype(interface["typestr"]), interface.get("strides")
    tensor = DlpackTensor(
        pointer=int(interface["data"][0]),
        shape=tuple(int(size) for size in interface["shape"]),
        dtype=dtype.name,
        strides=None if strides is None else tuple(int(stride) // dtype.itemsize for stride in strides),
    )
    owning_device = device_of(tensor.pointer)
    if owning_device is None:
        raise DataError(f"{place}: address {tensor.pointer:#x} is not CUDA memory")
    _check_device(place, owning_device, ordinal)
    # A stream of None means no pending work; without the key (version 2) that is not known.
    return _checked(place, tensor, owner=value, ordered=interface.get("stream", 0) is None)


def _checked(place: str, tensor: DlpackTensor, *, owner: Any, ordered: bool) -> DeviceArray:
    if not _contiguous(tensor):
        raise DataError(
            f"{place}: shape {list(tensor.shape)} with strides {list(tensor.strides or ())} is not "
            "contiguous; pass array.contiguous() (torch) or ascontiguousarray(array) (cupy)"
        )
    return DeviceArray(tensor.pointer, tensor.shape, tensor.dtype, ordered, owner)


def _contiguous(tensor: DlpackTensor) -> bool:
    """Return whether the elements are in C order without gaps; strides of axes of length 1 do not count."""
    if tensor.strides is None:
        return True
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _check_device(place: str, device: int, ordinal: int) -> None:
    if device != ordinal:
        raise DataError(
            f"{place}: it is on GPU {device}, but calibration runs on GPU {ordinal}; move it there"
        )

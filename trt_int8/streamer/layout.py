"""The layout of the batches of a stream: set by the first batch, checked for all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trt_int8.errors import DataError
from trt_int8.streamer.passthrough import DeviceArray

#: Bytes per element of the dtypes of TensorRT's inputs.
ITEM_BYTES = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}


@dataclass(frozen=True)
class InputLayout:
    """Shape of an input with the batch axis first, name of its dtype, and whether it is on the GPU."""

    shape: tuple[int, ...]
    dtype: str
    on_device: bool

    @property
    def nbytes(self) -> int:
        """Bytes of one batch."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)} on the {'GPU' if self.on_device else 'host'}"


def layout_of(arrays: Mapping[str, NDArray[Any] | DeviceArray]) -> dict[str, InputLayout]:
    """Return the layout of the first batch; DataError if TensorRT cannot read such a batch."""
    if not arrays:
        raise DataError("batch 0 has no inputs; yield a dict {input name: array}")
    layouts = {name: _layout(array) for name, array in arrays.items()}
    for name, layout in layouts.items():
        place = f"batch 0, input {name}"
        if not layout.shape:
            raise DataError(f"{place}: a scalar has no batch axis")
        if 0 in layout.shape:
            raise DataError(f"{place}: the array is empty (shape {list(layout.shape)})")
        if layout.dtype not in ITEM_BYTES:
            advice = "; convert it with .astype(numpy.float32)" if layout.dtype == "float64" else ""
            raise DataError(f"{place}: TensorRT does not support {layout.dtype}{advice}")
    sizes = {layout.shape[0] for layout in layouts.values()}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {list(layout.shape)}" for name, layout in layouts.items())
        raise DataError(f"batch 0: the inputs have different batch sizes (first axis): {found}")
    return layouts


def check_batch(
    index: int, arrays: Mapping[str, NDArray[Any] | DeviceArray], expected: Mapping[str, InputLayout]
) -> None:
    """Raise DataError if batch ``index`` has other inputs, shapes, dtypes or memory than the first one."""
    if arrays.keys() != expected.keys():
        raise DataError(
            f"batch {index} has the inputs {', '.join(arrays)}, but batch 0 has {', '.join(expected)}; all "
            "batches must have the same inputs"
        )
    for name, array in arrays.items():
        found = _layout(array)
        if found == expected[name]:
            continue
        short = found.shape[1:] == expected[name].shape[1:] and found.shape[:1] < expected[name].shape[:1]
        raise DataError(
            f"batch {index}, input {name} is {found}, but batch 0 is {expected[name]}; "
            + ("drop or pad the short batch" if short else "all batches must have the same type and shape")
        )


def _layout(array: NDArray[Any] | DeviceArray) -> InputLayout:
    if isinstance(array, DeviceArray):
        return InputLayout(array.shape, array.dtype, on_device=True)
    return InputLayout(array.shape, np.dtype(array.dtype).name, on_device=False)

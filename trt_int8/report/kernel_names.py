"""What the names of compiled kernels say about their datatypes."""

from __future__ import annotations

import re
from functools import lru_cache

#: Operand datatypes in kernel names: ``gemm_i8i8_i32…``, ``implicit_gemm_f16f16_…``, ``h1688``, ``i8816``.
_KERNEL_TYPE = re.compile(
    r"(?:^|_)(e4m3e4m3|bf16bf16|f16f16|i8i8|f32f32|tf32tf32|i8816|h\d{3,5}|sgemm|hgemm|igemm)"
)
_KERNEL_TYPES = {
    "e4m3e4m3": "fp8",
    "bf16bf16": "bf16",
    "f16f16": "fp16",
    "hgemm": "fp16",
    "i8i8": "int8",
    "i8816": "int8",
    "igemm": "int8",
    "f32f32": "fp32",
    "tf32tf32": "fp32",
    "sgemm": "fp32",
}


@lru_cache(maxsize=4096)
def kernel_type(kernel: str) -> str:
    """The datatype a kernel multiplies in, read from its name; ``unknown`` where the name does not say."""
    found = _KERNEL_TYPE.search(kernel)
    if found is None:
        return "unknown"
    word = found.group(1)
    return "fp16" if word[0] == "h" and word[1:].isdigit() else _KERNEL_TYPES[word]

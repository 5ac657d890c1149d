"""TensorRT's spellings of datatypes → one spelling.

They occur alone, in format combinations (``Int8(512,64:32,8,1), Float(…) -> Half(…)``) and in kernel names.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORDS = {
    **{
        "float": "fp32",
        "half": "fp16",
        "bfloat16": "bf16",
        "float8": "fp8",
        "fp8e4m3": "fp8",
        "fp4e2m1": "fp4",
    },
    **{name: name for name in ("fp32", "fp16", "bf16", "fp8", "fp4", "e8m0", "bool")},
    **{name: name for name in ("int64", "int32", "int8", "uint8", "int4")},
}
#: Inside a sentence ("Thirty-two wide channel vectorized row major Int8 format").
_IN_SENTENCE = re.compile(
    r"\b(BFloat16|BF16|Float|FP32|Half|FP16|UInt8|Int8|Int32|Int64|Int4|Bool|FP8|FP4)\b", re.IGNORECASE
)


@lru_cache(maxsize=1024)
def dtype(spelling: str) -> str:
    """Return ``fp16`` for ``Half`` or ``Row major linear FP16 format``; ``unknown`` for other words."""
    word = _WORDS.get(spelling.strip().lower())
    if word is not None:
        return word
    found = _IN_SENTENCE.search(spelling)
    return _WORDS[found.group(1).lower()] if found else "unknown"


#: Bits per element, for bytes moved. Datatypes without an entry count as unknown.
BITS = {
    **dict.fromkeys(("int4", "fp4"), 4),
    **dict.fromkeys(("int8", "uint8", "fp8", "e8m0", "bool"), 8),
    **dict.fromkeys(("fp16", "bf16"), 16),
    **dict.fromkeys(("fp32", "int32"), 32),
    "int64": 64,
}
# Strides may be symbolic and nested: "Float((* (# 1 (SHAPE x)) (# 2 (SHAPE x))),…)".
_TYPED = re.compile(r"(?:^|, )([A-Za-z]\w*)\(")


@lru_cache(maxsize=8192)
def combination(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the datatypes of the inputs and of the outputs."""
    inputs, _, outputs = text.partition("-> ")
    return _datatypes(inputs), _datatypes(outputs)


def _datatypes(side: str) -> tuple[str, ...]:
    return tuple(found for word in _TYPED.findall(side.strip()) if (found := dtype(word)) != "unknown")


#: Operand datatypes in kernel names: ``gemm_i8i8_i32…``, ``implicit_gemm_f16f16_…``, ``h1688``, ``i8816``.
_KERNEL_TYPE = re.compile(
    r"(?:^|_)(e4m3e4m3|bf16bf16|f16f16|i8i8|f32f32|tf32tf32|i8816|h\d{3,5}|sgemm|hgemm|igemm)"
)
_KERNEL_TYPES = {
    **dict.fromkeys(("i8i8", "i8816", "igemm"), "int8"),
    **dict.fromkeys(("f32f32", "tf32tf32", "sgemm"), "fp32"),
    **{"f16f16": "fp16", "hgemm": "fp16", "bf16bf16": "bf16", "e4m3e4m3": "fp8"},
}


@lru_cache(maxsize=4096)
def kernel_type(kernel: str) -> str:
    """Return the datatype that a kernel multiplies in, from its name, or ``unknown``."""
    found = _KERNEL_TYPE.search(kernel)
    if found is None:
        return "unknown"
    word = found.group(1)
    return "fp16" if word[0] == "h" and word[1:].isdigit() else _KERNEL_TYPES[word]

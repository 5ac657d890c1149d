"""TensorRT's spellings of datatypes → one spelling.

They stand alone, in format combinations (``Int8(512,64:32,8,1), Float(…) -> Half(…)``), and in the names
of compiled kernels.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORDS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "int64": "int64",
    "int4": "int4",
    "bool": "bool",
    "fp8": "fp8",
    "fp8e4m3": "fp8",
    "float8": "fp8",
    "fp4": "fp4",
    "fp4e2m1": "fp4",
    "e8m0": "e8m0",
}

#: Inside a sentence ("Thirty-two wide channel vectorized row major Int8 format").
_IN_SENTENCE = re.compile(
    r"\b(BFloat16|BF16|Float|FP32|Half|FP16|UInt8|Int8|Int32|Int64|Int4|Bool|FP8|FP4)\b", re.IGNORECASE
)


@lru_cache(maxsize=1024)
def dtype(spelling: str) -> str:
    """``Half``, ``FP16``, ``Row major linear FP16 format`` → ``fp16``; an unknown spelling → ``unknown``."""
    word = _WORDS.get(spelling.strip().lower())
    if word is not None:
        return word
    found = _IN_SENTENCE.search(spelling)
    return _WORDS[found.group(1).lower()] if found else "unknown"


#: Bits per element, for bytes moved. Datatypes without an entry count as unknown.
BITS = {
    "fp32": 32,
    "int32": 32,
    "fp16": 16,
    "bf16": 16,
    "int8": 8,
    "uint8": 8,
    "fp8": 8,
    "e8m0": 8,
    "bool": 8,
    "int64": 64,
    "int4": 4,
    "fp4": 4,
}

# Strides may be symbolic and nested: "Float((* (# 1 (SHAPE x)) (# 2 (SHAPE x))),…)".
_TYPED = re.compile(r"(?:^|, )([A-Za-z]\w*)\(")


@lru_cache(maxsize=8192)
def combination(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The datatypes of the inputs and of the outputs."""
    inputs, _, outputs = text.partition("-> ")
    return _datatypes(inputs), _datatypes(outputs)


def _datatypes(side: str) -> tuple[str, ...]:
    return tuple(found for word in _TYPED.findall(side.strip()) if (found := dtype(word)) != "unknown")


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

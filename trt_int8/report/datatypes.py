"""TensorRT's spellings of datatypes → one spelling."""

from __future__ import annotations

import re

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

"""One line of a log: the prefix of the logger, the text, the version of TensorRT in it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_TIME = rb"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] "
#: Program that writes a log → the prefix of its lines, as a regular expression. A group in it is the level: a
#: word or its first letter. Prefixes occur nowhere else: add new ones here.
PREFIXES = {
    "trtexec, Polygraphy, trt_int8": rb"\[([VIWEFSX])\] (?:\[TRT\] ?)?",
    "the Python API": rb"\[TRT\] \[([VIWEF])\] ?",
    "the Python API up to TensorRT 8.0": rb"\[TensorRT\] (VERBOSE|INFO|WARNING|ERROR|INTERNAL_ERROR): ?",
    "C++ programs": rb"\[TRT\] {1,4}",
    "loggers written in Python": rb"(?:[^\n:\[]{1,40}: )?\[?Severity\.(\w+)\]? ?",
    "Torch-TensorRT": rb"DEBUG: \[TRTorch[^\]\n]{0,60}\] - ",
    "onnxruntime": (
        rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[\w:onnxruntime[^\]\n]{0,200}\] "
        rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(\w+)\] ?"
    ),
}


def any_prefix(prefixes: Iterable[bytes]) -> re.Pattern[bytes]:
    """Return one expression for all ``prefixes``, with times and spaces before them."""
    return re.compile(rb"[ \t]{0,16}(?:" + _TIME + rb")*(?:" + b"|".join(prefixes) + rb")")


PREFIX = any_prefix(PREFIXES.values())
#: Up to TensorRT 7, messages of the parser begin with a place in its source. Warnings keep it in their text.
LOCATION = re.compile(rb"[A-Za-z_]{1,40}\.[ch]pp:\d{1,5}: ")
_LEVELS = {"V": "V", "I": "I", "W": "W", "E": "E", "F": "E", "X": "V", "S": "I"}


def level(found: re.Match[bytes]) -> str:
    """Return ``V``, ``I``, ``W`` or ``E``, or "" if the prefix has no level."""
    word = found[found.lastindex].upper() if found.lastindex else b""
    return "E" if word == b"INTERNAL_ERROR" else _LEVELS.get(word[:1].decode(), "")


def text(data: bytes) -> str:
    """Decode UTF-8. Invalid bytes become replacement characters."""
    return data.decode("utf-8", errors="replace")


def number_in(digits: bytes) -> float | None:
    """Parse a printed number. Return None if it is not one, or not finite."""
    try:
        number = float(digits)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


#: As trtexec prints it before and after its options, and as ``trt-int8 build`` does.
_SAID = re.compile(rb"TensorRT(?P<rtx>-RTX|_RTX)? (?:version: |v)?(?P<version>\d[\d.]*)(?=$|[\s\]])")


def said_version(message: bytes) -> tuple[str, str] | None:
    """Return the product, ``TensorRT`` or ``TensorRT-RTX``, and its version; None if there is neither."""
    found = _SAID.search(message)
    if found is None:
        return None
    return "TensorRT-RTX" if found["rtx"] else "TensorRT", version(text(found["version"]))


def version(printed: str) -> str:
    """Return ``8.5.2`` as it is, and NV_TENSORRT_VERSION with points: 8502 → 8.5.2, 101600 → 10.16.0."""
    if "." in printed or not printed.isdigit():
        return printed.strip(".")
    number = int(printed[:9])
    if number >= 100_000:
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"

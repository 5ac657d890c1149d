"""One line of a log: the prefix of the logger, the text, the version of TensorRT it may name."""

from __future__ import annotations

import math
import re

_TIME = rb"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] "

#: trtexec, Python, Python up to 8.0, Polygraphy, this package, C++ samples, custom loggers, onnxruntime.
PREFIX = re.compile(
    rb"[ \t]{0,16}(?:" + _TIME + rb")*"
    rb"(?:"
    rb"\[(?P<a>[VIWEFSX])\] (?:\[TRT\] ?)?"
    rb"|\[TRT\] \[(?P<b>[VIWEF])\] ?"
    rb"|\[TensorRT\] (?P<c>VERBOSE|INFO|WARNING|ERROR|INTERNAL_ERROR): ?"
    rb"|\[TRT\] {1,4}"
    rb"|(?:[^\n:\[]{1,40}: )?\[?Severity\.(?P<d>\w+)\]? ?"
    rb"|DEBUG: \[TRTorch[^\]\n]{0,60}\] - "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[\w:onnxruntime[^\]\n]{0,200}\] "
    rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(?P<e>\w+)\] ?"
    rb")"
)

#: Up to TensorRT 7, the parser says where in its source it speaks; a part of what it warns of.
LOCATION = re.compile(rb"[A-Za-z_]{1,40}\.[ch]pp:\d{1,5}: ")

_LEVELS = {"V": "V", "I": "I", "W": "W", "E": "E", "F": "E", "X": "V", "S": "I"}


def level(found: re.Match[bytes]) -> str:
    """``V``, ``I``, ``W``, ``E``, or "" where the prefix names none."""
    word = found["a"] or found["b"] or found["c"] or found["d"] or found["e"]
    if not word:
        return ""
    return "E" if word == b"INTERNAL_ERROR" else _LEVELS.get(word[:1].decode(), "")


def text(data: bytes) -> str:
    """What the log says; bytes that are no UTF-8 become replacement characters."""
    return data.decode("utf-8", errors="replace")


def number_in(digits: bytes) -> float | None:
    """A printed number; None if it is none, or not finite."""
    try:
        number = float(digits)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


#: trtexec, before its options and behind them; ``trt-int8 build``.
_SAID = re.compile(rb"TensorRT(?P<rtx>-RTX|_RTX)? (?:version: |v)?(?P<version>\d[\d.]*)(?=$|[\s\]])")


def said_version(message: bytes) -> tuple[str, str] | None:
    """The product, ``TensorRT`` or ``TensorRT-RTX``, and its version; None if the message says neither."""
    found = _SAID.search(message)
    if found is None:
        return None
    return "TensorRT-RTX" if found["rtx"] else "TensorRT", version(text(found["version"]))


def version(printed: str) -> str:
    """``8.5.2`` as it is; NV_TENSORRT_VERSION: 8502 → 8.5.2, 101600 → 10.16.0."""
    if "." in printed or not printed.isdigit():
        return printed.strip(".")
    number = int(printed[:9])
    if number >= 100_000:
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"

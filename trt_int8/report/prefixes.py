"""What loggers put in front of a message of TensorRT."""

from __future__ import annotations

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

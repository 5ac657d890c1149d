"""Which TensorRT wrote a log."""

from __future__ import annotations

import re

from trt_int8.report.decoding import text

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

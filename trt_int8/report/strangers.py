"""Files that are no log: what they seem to be, and what to give instead."""

from __future__ import annotations

import os
from pathlib import Path

from trt_int8.ranges.cache import is_header

_WANTED = (
    "give the verbose log of a build (trtexec --verbose, trt.Logger.VERBOSE, trt-int8 build), or layer "
    "information in JSON (trtexec --exportLayerInfo)"
)


def no_log(path: str | os.PathLike[str]) -> str:
    """The message for a file in which no line is TensorRT's."""
    start = _start(path)
    if start is not None and not start.strip():
        return f"{path} is empty; {_WANTED}"
    return f"{path} is no build log: {_guess(path, start or b'')}{_WANTED}"


def _guess(path: str | os.PathLike[str], start: bytes) -> str:
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return "by its name it is an ONNX model; trt-int8 report takes one beside the log (--model); "
    if is_header(start.split(b"\n")[0].strip().decode("utf-8", "replace")):
        return "it is a calibration cache; trt-int8 report takes one beside the log (--cache); "
    if start.startswith((b"ftrt", b"ptrt")) or suffix in (".engine", ".plan", ".trt"):
        return "it is an engine; "
    if start.lstrip().startswith(b"[") and suffix == ".json":
        return (
            "it is a list in JSON; a profile goes to trt-int8 report --profile, beside a log or layer "
            "information; "
        )
    return "no line in it is one of TensorRT's; "


def _start(path: str | os.PathLike[str]) -> bytes | None:
    """The first bytes; None where they cannot be read again (a pipe)."""
    if not Path(path).is_file():
        return b"" if os.fspath(path) == os.devnull else None
    with Path(path).open("rb") as file:
        return file.read(256)

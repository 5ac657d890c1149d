"""The precision report: builds read from a log, and the views on them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trt_int8.errors import ReportError
from trt_int8.report.parser import parse_lines
from trt_int8.report.records import Build
from trt_int8.report.schema import builds_to_dict


class PrecisionReport:
    """Which layers run in INT8, and why the others do not.

    Attributes:
        builds: one `Build` for each engine build in the source, in order, incomplete ones included.
        source: what was read, for messages.
    """

    def __init__(self, builds: Iterable[Build], *, source: str = "log") -> None:
        self.builds = tuple(builds)
        self.source = source

    @classmethod
    def from_log(cls, path: str | os.PathLike[str]) -> PrecisionReport:
        """Read a verbose log of TensorRT 5 to 10 or TensorRT-RTX.

        Raises:
            ReportError: the file cannot be read.
        """
        try:
            with Path(path).open("rb") as file:
                return cls(parse_lines(file), source=str(path))
        except OSError as error:
            raise ReportError(f"cannot read the log {path}: {error.strerror or error}") from error

    @classmethod
    def from_lines(cls, lines: Iterable[str | bytes], *, source: str = "log") -> PrecisionReport:
        """Read log lines, or messages of several lines each, from any iterable."""
        return cls(parse_lines(_split(lines)), source=source)

    @property
    def last(self) -> Build:
        """The last complete build.

        Raises:
            ReportError: there is none; the message says what the source lacks.
        """
        for build in reversed(self.builds):
            if build.status == "complete":
                return build
        raise ReportError(
            f"{self.source} holds no complete build: no engine layer information was found. Build with a "
            "verbose logger (trtexec --verbose, trt.Logger.VERBOSE) and profiling_verbosity DETAILED, and "
            "keep the whole log"
        )

    def to_dict(self) -> dict[str, Any]:
        """The document of docs/report-schema.md."""
        return builds_to_dict(self.builds)

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_text(self, *, width: int = 100, color: bool = False) -> str:
        """The answer for people: per ONNX node first, then kernels, warnings, calibration."""
        from trt_int8.report.views.text import render

        return render(self, width=width, color=color)


def _split(lines: Iterable[str | bytes]) -> Iterable[bytes]:
    for line in lines:
        data = line.encode("utf-8", errors="surrogateescape") if isinstance(line, str) else line
        yield from data.removesuffix(b"\n").split(b"\n")

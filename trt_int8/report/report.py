"""The precision report: builds from a log or from layer information, and its views."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

from trt_int8.arguments import require_path
from trt_int8.errors import ReportError
from trt_int8.files.inputs import open_input
from trt_int8.printable import json_text
from trt_int8.report.explain.build import explain
from trt_int8.report.read.layer_information import read_layer_information, read_profile, with_times
from trt_int8.report.read.log_file import no_log, read_lines, split_lines
from trt_int8.report.read.network import Network
from trt_int8.report.read.observed import Observed
from trt_int8.report.read.verbose_log import observe
from trt_int8.report.records import Build
from trt_int8.report.schema import builds_to_dict
from trt_int8.report.views import csv, html, markdown


class PrecisionReport:
    """The layers that run in INT8, and why the others do not.

    Attributes:
        builds: one `Build` for each engine build in the source, in order, incomplete ones included.
        source: the name of the source, for messages.

    ``model``, an ONNX file, and ``cache``, a calibration cache, make the reasons more exact: they tell the
    operators, the Q/DQ nodes and the tensors with a scale.
    """

    def __init__(self, builds: Iterable[Build], *, source: str = "log") -> None:
        self.builds = tuple(builds)
        self.source = source

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        profile: str | os.PathLike[str] | None = None,
        model: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> PrecisionReport:
        """Read a verbose log or layer information in JSON; the content decides.

        Args:
            path: the log (plain, gzip, UTF-16) or the JSON file.
            profile: output of ``trtexec --exportProfile`` for the last engine in ``path``.
            model: the ONNX file that was built.
            cache: the calibration cache that was used.

        Raises:
            ReportError: a file cannot be read or has another content.
            ModelError: ``model`` is not an ONNX model.
            CacheError: ``cache`` is not a calibration cache.
        """
        require_path(path, "path", of="a build log or of layer information")
        with _opened(path) as file:
            if file.holds_json:
                seen = read_layer_information(path, file)
                report = cls(
                    [explain(seen, network=_network(model), cached=_scales(cache))], source=str(path)
                )
            else:
                report = cls(_explained(path, read_lines(path, file), model, cache), source=str(path))
        return report if profile is None else report.with_profile(profile)

    @classmethod
    def from_log(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> PrecisionReport:
        """Read a verbose log of TensorRT 4 to 10 or TensorRT-RTX.

        Examples:
            >>> build = PrecisionReport.from_log("model.engine.log").last
            >>> [node.node for node in build.nodes if node.precision == "int8"]
            ['conv1', 'conv2', 'ip1', 'ip2']

        Raises:
            ReportError: the file cannot be read, or has no line of TensorRT.
        """
        return cls(cls.stream(path, model=model, cache=cache), source=str(path))

    @staticmethod
    def stream(
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Iterator[Build]:
        """Yield the builds of a log one at a time. Memory is bounded by the largest of them.

        Raises:
            ReportError: during the iteration: the file cannot be read, or has no line of TensorRT.
        """
        return _explained(path, read_lines(path), model, cache)

    @classmethod
    def from_lines(cls, lines: Iterable[str | bytes], *, source: str = "log") -> PrecisionReport:
        """Read log lines, or messages of several lines each, from any iterable.

        Raises:
            TypeError: ``lines`` is one text, or not iterable.
        """
        if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
            raise TypeError(
                f"lines is {lines!r:.40} ({type(lines).__name__}); give an iterable of lines: "
                "text.splitlines(), an open file"
            )
        return cls(map(explain, observe(split_lines(_blocks(lines)))), source=source)

    @classmethod
    def from_layer_information(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> PrecisionReport:
        """Read layer information in JSON: engine inspector, ``trtexec --exportLayerInfo``, TREx graph.

        Raises:
            ReportError: the file cannot be read, or is not layer information.
        """
        seen = read_layer_information(path)
        return cls([explain(seen, network=_network(model), cached=_scales(cache))], source=str(path))

    def with_profile(self, path: str | os.PathLike[str]) -> PrecisionReport:
        """Return this report with the time of each layer of the last complete build.

        Raises:
            ReportError: ``path`` is not a profile, or one of another engine.
        """
        last = self.last
        timed = replace(last, layers=with_times(last.layers, read_profile(path), source=str(path)))
        builds = (timed if build is last else build for build in self.builds)
        return PrecisionReport(builds, source=self.source)

    @property
    def last(self) -> Build:
        """The last complete build.

        Raises:
            ReportError: the source has no complete build.
        """
        for build in reversed(self.builds):
            if build.status == "complete":
                return build
        raise ReportError(
            f"{self.source} has no complete build, because it has no layer information of an engine. Build "
            "with a verbose logger (trtexec --verbose, trt.Logger.VERBOSE) and profiling_verbosity DETAILED, "
            "and keep the whole log"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the document of docs/report-schema.md."""
        return builds_to_dict(self.builds)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON text."""
        return json_text(self.to_dict(), indent=indent, allow_nan=False)

    def to_text(self, *, width: int | None = 100, color: bool = False) -> str:
        """Return ONNX nodes with their reasons, then kernels, findings, warnings and calibration.

        Args:
            width: wrap lines at this column and shorten long lists; None writes every node on one line.
            color: with the control sequences of a terminal.
        """
        from trt_int8.report.views.text import render

        return render(self.builds, width=width, color=color)

    def to_csv(self) -> str:
        """Return a row for each layer."""
        return csv.render(self.builds)

    def to_markdown(self) -> str:
        """Return tables for an issue or a pull request."""
        return markdown.render(self.builds)

    def to_html(self) -> str:
        """Return one self-contained page: tables, graph, candidates and evidence.

        Raises:
            MissingDependencyError: jinja2 is not installed.
        """
        return html.render(self.builds, source=self.source)


def _explained(
    path: str | os.PathLike[str],
    lines: Iterable[list[bytes]],
    model: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
) -> Iterator[Build]:
    """Yield the builds in ``lines`` of the log ``path``."""
    network, cached = _network(model), _scales(cache)
    builds = _builds(path, lines)
    if network is not None:
        builds = (_require_qdq(network, seen, path, model) for seen in builds)
    return map(partial(explain, network=network, cached=cached), builds)


def _builds(path: str | os.PathLike[str], lines: Iterable[list[bytes]]) -> Iterator[Observed]:
    """Yield the raw facts of each build. Raise if the file has no line of TensorRT."""
    builds = observe(lines)
    first = next(builds, None)
    if first is None or not first.is_a_log:
        raise ReportError(no_log(path))
    yield first
    yield from builds


class _Sniffed:
    """A file, perhaps a pipe, whose beginning was looked at.

    Attributes:
        holds_json: whether it holds a JSON object.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._start, self._file = file.read(256), file
        start = self._start.lstrip(b"\xef\xbb\xbf \t\r\n")
        self.holds_json = start.startswith(b"{") and start[1:].lstrip()[:1] in (b'"', b"}")

    def fileno(self) -> int:
        return self._file.fileno()

    def peek(self, size: int) -> bytes:
        return self._start[:size]

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all by default."""
        start = self._start if size < 0 else self._start[:size]
        self._start = self._start[len(start) :]
        return start + self._file.read(-1 if size < 0 else size - len(start))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_Sniffed]:
    try:
        with open_input(path) as file:
            yield _Sniffed(file)
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror or error}") from error


def _network(model: str | os.PathLike[str] | None) -> Network | None:
    if model is None:
        return None
    from trt_int8.graph import load_model

    return Network.from_model(load_model(model))


def _require_qdq(network: Network, seen: Observed, path: object, model: object) -> Observed:
    """Return ``seen``. Raise if its network has Q/DQ nodes and ``network``, the float model, has none."""
    quantize = "QuantizeLinear"
    inserted = next((node.name for node in seen.nodes.values() if node.op == quantize), None)
    if inserted is not None and quantize not in network.ops.values():
        raise ReportError(
            f"{model} has no Q/DQ nodes, but the log {path} was made with a Q/DQ model ({inserted}); give "
            "the Q/DQ model (trt-int8 quantize writes it) or no model"
        )
    return seen


def _scales(cache: str | os.PathLike[str] | None) -> Collection[str] | None:
    if cache is None:
        return None
    from trt_int8.ranges import CalibrationCache

    return frozenset(CalibrationCache.read(cache).scales)


def _blocks(lines: Iterable[str | bytes]) -> Iterator[bytes]:
    for line in lines:
        data = line.encode("utf-8", errors="surrogateescape") if isinstance(line, str) else line
        yield data if data.endswith(b"\n") else data + b"\n"

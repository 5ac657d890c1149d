"""A TensorRT verbose log, line by line → builds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from trt_int8.report.kernels import kind
from trt_int8.report.layer_text import read_detailed, read_one_line
from trt_int8.report.nodes import judge_nodes
from trt_int8.report.precision import precision
from trt_int8.report.records import Build, Evidence, GraphNode, Layer, Warnings

_PREFIX = re.compile(
    rb"\s*(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] )*"
    rb"(?:\[(?P<a>[VIWEFX])\] (?:\[TRT\] )?|\[TRT\] \[(?P<b>[VIWEF])\] |\[TRT\] +"
    rb"|\[TensorRT\] (?P<c>VERBOSE|INFO|WARNING|ERROR|INTERNAL_ERROR): "
    rb"|(?:[^\n:\[]{1,40}: )?\[?Severity\.(?P<d>\w+)\]? |DEBUG: \[TRTorch[^\]]*\] - )?"
)
_LEVEL = {b"V": "V", b"I": "I", b"W": "W", b"E": "E", b"F": "E", b"X": "V"}
_PARSING = re.compile(rb"Parsing node: (.*) \[(\w+)\]\s*$")
_TENSORS = re.compile(rb"(.*) \[(\w+)\] (inputs|outputs): (.*)$")
_TENSOR = re.compile(rb"\[(.*?) -> \([^()]*\)\[\w+\]\]")
_VERSION = re.compile(rb"TensorRT version: (\d+\.\d+\.\d+)|\[TensorRT v(\d+)\]")


def parse_lines(lines: Iterable[bytes]) -> Iterator[Build]:
    """The builds of a log, one after the other."""
    build = _Building(1)
    number = 0
    for number, line in enumerate(lines, 1):
        if build.starts_another(line):
            yield build.finish(number - 1)
            build = _Building(number)
        build.read(line, number)
    if number:
        yield build.finish(number)


class _Building:
    """One build while its lines arrive."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.tensorrt: str | None = None
        self.layers: list[Layer] = []
        self.section = False
        self.broken = False
        self.nodes: dict[str, GraphNode] = {}
        self.warnings: list[Evidence] = []
        self.unrecognized = 0

    def starts_another(self, line: bytes) -> bool:
        return (
            bool(self.layers)
            and not self.section
            and (b"Adding network input: " in line or b"&&&& RUNNING" in line)
        )

    def read(self, line: bytes, number: int) -> None:
        prefix = _PREFIX.match(line)
        assert prefix is not None  # every part is optional
        message = line[prefix.end() :].rstrip(b"\r\n")
        if self.section and self._layer(message, number, prefixed=prefix.end() > 0):
            return
        level = prefix["a"] or prefix["b"] or prefix["c"] or prefix["d"] or b""
        if level[:1] in b"WE" and level:
            self.warnings.append(Evidence(number, _text(message)))
        elif message in (b"Layers:", b"Engine Layer Information:"):
            self.section, self.layers = True, []
        elif message.startswith(b"Parsing node: "):
            self._node(message, number)
        elif b"] inputs: " in message or b"] outputs: " in message:
            self._node_tensors(message)
        elif found := _VERSION.search(message):
            self.tensorrt = _version(found)
        else:
            self.unrecognized += 1

    def _layer(self, message: bytes, number: int, *, prefixed: bool) -> bool:
        """Read one line of the section; False when the section has ended."""
        if message.startswith((b"Name: ", b"Layer(")):
            read = read_detailed if message.startswith(b"Name: ") else read_one_line
            layer = read(_text(message), line=number)
            if layer is not None:
                self.layers.append(layer)
            else:
                self.broken = True
            return True
        if not message and not prefixed and not self.layers:
            return True
        self.section = False
        return False

    def _node(self, message: bytes, number: int) -> None:
        found = _PARSING.match(message)
        if found:
            name = _text(found.group(1))
            self.nodes[name] = GraphNode(name, _text(found.group(2)), line=number)

    def _node_tensors(self, message: bytes) -> None:
        found = _TENSORS.match(message)
        node = self.nodes.get(_text(found.group(1))) if found else None
        if found and node:
            names = tuple(_text(name) for name in _TENSOR.findall(found.group(4)))
            self.nodes[node.name] = (
                replace(node, inputs=names) if found.group(3) == b"inputs" else replace(node, outputs=names)
            )

    def finish(self, last_line: int) -> Build:
        ops = {node.name: node.op for node in self.nodes.values()}
        layers = tuple(judge_layer(layer, ops) for layer in self.layers)
        return Build(
            layers=layers,
            nodes=judge_nodes(layers, ops),
            tensorrt=self.tensorrt,
            status="complete" if self.layers and not self.broken else "incomplete",
            first_line=self.first_line,
            last_line=last_line,
            warnings=Warnings(other=tuple(self.warnings)),
            graph=tuple(self.nodes.values()),
            unrecognized_lines=self.unrecognized,
        )


def judge_layer(layer: Layer, ops: dict[str, str]) -> Layer:
    """``layer`` with its kind and precision."""
    layer = replace(layer, kind=kind(layer, ops))
    return replace(layer, precision=precision(layer, ops))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _version(found: re.Match[bytes]) -> str:
    if found.group(1):
        return _text(found.group(1))
    digits = _text(found.group(2))
    if len(digits) == 6:  # v101600: major, then two digits each
        return f"{int(digits[:2])}.{int(digits[2:4])}.{int(digits[4:6])}"
    return ".".join(digits[:3])

"""Checks of a report: limits for CI, and a precision plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trt_int8.patterns import matching, nearest
from trt_int8.report.records import Build, Layer, Node
from trt_int8.report.views.words import multiplying_nodes, why

_FINE = ("int8", "int8_io")


def int8_share(build: Build) -> float | None:
    """Return the share of Conv, Gemm and MatMul nodes that run in INT8.

    If no such node is known, it is the share of compute layers. None if there is neither.
    """
    entries = [node.precision for node in multiplying_nodes(build)]
    entries = entries or [layer.precision for layer in build.compute_layers]
    return sum(precision == "int8" for precision in entries) / len(entries) if entries else None


def offences(
    build: Build,
    *,
    require: Sequence[str] = (),
    min_int8: float | None = None,
    max_reformats: int | None = None,
) -> tuple[str, ...]:
    """Return a sentence for each limit that ``build`` does not meet.

    Args:
        build: a complete build.
        require: names or globs (`trt_int8.patterns`); each ONNX node and each compute layer whose name
            matches must be ``int8`` or ``int8_io``. A pattern without a match is an offence.
        min_int8: the least `int8_share`, in [0, 1].
        max_reformats: the most layers of kind ``reformat``.
    """
    found = [offence for pattern in require for offence in _require(build, pattern)]
    if min_int8 is not None:
        share = int8_share(build)
        if share is None or not share >= min_int8:
            others = [node for node in multiplying_nodes(build) if node.precision != "int8"]
            rest = ", ".join(f"{node.node} {node.precision}" for node in others)
            got = "no layer computes" if share is None else f"{share:.1%} run in INT8"
            found.append(f"{got}, {min_int8:.1%} are required" + (f"; not in INT8: {rest}" if rest else ""))
    if max_reformats is not None:
        copies = [layer.name for layer in build.layers if layer.kind == "reformat"]
        if len(copies) > max_reformats:
            found.append(f"{len(copies)} reformat layers, {max_reformats} are allowed: {', '.join(copies)}")
    return tuple(found)


def _require(build: Build, pattern: str) -> list[str]:
    names = [node.node for node in build.nodes] + [layer.name for layer in build.compute_layers]
    found = set(matching(pattern, names))
    if not found:
        multiplying = [node.node for node in multiplying_nodes(build)]
        return [f"no node or layer matches {pattern!r}; {nearest(pattern, [*multiplying, *names])}"]
    entries: list[tuple[str, Node | Layer]] = [
        *((f"node {node.node}", node) for node in build.nodes if node.node in found),
        *((f"layer {layer.name}", layer) for layer in build.compute_layers if layer.name in found),
    ]
    return [
        f"{name} is {entry.precision}" + (f" ({why(entry)})" if entry.reason else "")
        for name, entry in entries
        if entry.precision not in _FINE
    ]


#: At most so many nodes of a kernel are named.
_NAMED = 4


def deviations(planned: Mapping[str, str], build: Build) -> list[str]:
    """Return a line for each node of ``planned`` (node → ``int8`` or ``float``) that runs differently."""
    nodes = {node.node: node for node in build.nodes}
    lines = []
    for name, wanted in planned.items():
        node = nodes.get(name)
        if node is None:
            lines.append(f"{name} is planned as {wanted}, but the report does not list it")
        elif (wanted == "int8") != (node.precision == "int8"):
            lines.append(f"{name} is planned as {wanted} and runs in {node.precision}: {_why(node, build)}")
    return lines


def _why(node: Node, build: Build) -> str:
    """Name the kernels that run ``node``, with their other nodes."""
    kernels = [layer for layer in build.layers if layer.name in node.layers]
    names = ", ".join(layer.name for layer in kernels)
    known = {other.node for other in build.nodes} - {node.node}  # Q and DQ are not among them
    others = [name for layer in kernels for name in layer.onnx_nodes if name in known]
    if not others:
        return f"TensorRT chose the kernel {names}"
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"TensorRT fused it with {', '.join(others[:_NAMED])}{more} into {names}"

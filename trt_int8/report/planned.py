"""An engine held against the precision plan it was built from."""

from __future__ import annotations

from collections.abc import Mapping

from trt_int8.report.records import Build, Node

#: Nodes of a kernel that are named.
_NAMED = 4


def deviations(planned: Mapping[str, str], build: Build) -> list[str]:
    """Where an engine is not what the plan says; a line each with the reason, for people.

    Args:
        planned: node → ``int8`` or ``float``.
        build: the engine.
    """
    nodes = {node.node: node for node in build.nodes}
    lines = []
    for name, wanted in planned.items():
        node = nodes.get(name)
        if node is None:
            lines.append(f"{name} is planned as {wanted}, and the report does not name it")
        elif (wanted == "int8") != (node.precision == "int8"):
            lines.append(f"{name} is planned as {wanted} and runs in {node.precision}: {_why(node, build)}")
    return lines


def _why(node: Node, build: Build) -> str:
    """The kernels that run ``node``, with what else they run."""
    kernels = [layer for layer in build.layers if layer.name in node.layers]
    names = ", ".join(layer.name for layer in kernels)
    known = {other.node for other in build.nodes} - {node.node}  # Q and DQ are not among them
    others = [name for layer in kernels for name in layer.onnx_nodes if name in known]
    if not others:
        return f"TensorRT took the kernel {names}"
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"TensorRT fused it with {', '.join(others[:_NAMED])}{more} into {names}"

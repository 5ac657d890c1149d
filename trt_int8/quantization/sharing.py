"""One scale for tensors between which a kernel only moves values.

A Concat or max-pool of INT8 values costs nothing if all its tensors have one scale; otherwise TensorRT
has to requantize on the way. Source: "Q/DQ Placement Recommendations" in the TensorRT developer guide.
"""

from __future__ import annotations

from trt_int8.calibration.ties import PASSING
from trt_int8.model.graph import GraphIndex
from trt_int8.ranges.ranges import Ranges, TensorRange


def share_scales(index: GraphIndex, ranges: Ranges) -> Ranges:
    """Give every group of tensors joined by Concat or passing operators its largest amax.

    Groups are transitive. A tensor without a range takes the group's. Constants do not take part, nor
    do ranges that no scale can come from (0 or inf).
    """
    groups = _groups(index)
    shared = dict(ranges)
    for group in groups:
        usable = {name: ranges[name] for name in group if name in ranges and ranges[name].usable}
        if not usable:
            continue
        widest = max(usable, key=lambda name: usable[name].amax)
        for name in group:
            own = ranges.get(name)
            if own is None or (own.usable and own.amax != usable[widest].amax):
                shared[name] = TensorRange(usable[widest].amax, source=f"shared with {widest}")
    return Ranges(shared)


def _groups(index: GraphIndex) -> list[list[str]]:
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in index.graph.node:
        if node.op_type == "Concat" or node.op_type in PASSING:
            joined = node.input if node.op_type == "Concat" else node.input[:1]
            for name in joined:
                if name and not index.is_constant(name):
                    parent[root(name)] = root(node.output[0])
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())

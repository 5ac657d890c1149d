"""Differences between two builds of one network: precision, fusion, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trt_int8.printable import printable
from trt_int8.report.explain.kernels import is_qdq
from trt_int8.report.records import Build
from trt_int8.report.views.words import headline, why


@dataclass(frozen=True)
class NodeChange:
    """A node (or, without ONNX nodes, a layer) in both builds, with the time of its kernels in ms."""

    name: str
    old: str
    new: str
    old_ms: float | None = None
    new_ms: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Diff:
    """Nodes that differ. ``changed`` holds changes between precisions other than INT8.

    ``fused`` and ``split``: (node, nodes that share its kernel only in the new build, or only in the old).
    """

    old: Build
    new: Build
    gained: tuple[NodeChange, ...] = ()
    lost: tuple[NodeChange, ...] = ()
    changed: tuple[NodeChange, ...] = ()
    timed: tuple[NodeChange, ...] = ()
    fused: tuple[tuple[str, tuple[str, ...]], ...] = ()
    split: tuple[tuple[str, tuple[str, ...]], ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the differences as lines, INT8 first."""
        lines = []
        changes = {"lost INT8": self.lost, "gained INT8": self.gained, "changed": self.changed}
        for title, found in changes.items():
            for each in found:
                reason = f" ({each.why})" if each.why else ""
                lines.append(f"{title}: {each.name}: {each.old} → {each.new}{reason}")
        lines += [f"fused: {name} with {', '.join(others)}" for name, others in self.fused]
        lines += [f"split: {name} from {', '.join(others)}" for name, others in self.split]
        lines += [f"time: {each.name}: {each.old_ms:.4g} → {each.new_ms:.4g} ms" for each in self.timed]
        for build, names in (("old", self.only_old), ("new", self.only_new)):
            if names:
                lines.append(f"only in the {build} build: {', '.join(names)}")
        builds = [f"old: {headline(self.old)}", f"new: {headline(self.new)}"]
        return "".join(f"{printable(line)}\n" for line in [*builds, *(lines or ["no differences"])])

    def to_dict(self) -> dict[str, object]:
        """Return the differences as plain values, for JSON."""
        keys = ("name", "old", "new", "old_ms", "new_ms")
        changes = {"gained": self.gained, "lost": self.lost, "changed": self.changed, "timed": self.timed}
        groups = {"fused": self.fused, "split": self.split}
        return {
            "schema": 1,
            **{
                title: [{key: getattr(change, key) for key in keys} for change in found]
                for title, found in changes.items()
            },
            **{
                title: [{"name": name, "nodes": list(others)} for name, others in found]
                for title, found in groups.items()
            },
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
        }


def diff(old: Build, new: Build, *, slower_by: float = 0.05) -> Diff:
    """Compare two builds by ONNX node, or by layer name if one of them has no nodes.

    Args:
        old, new: complete builds.
        slower_by: report relative changes of time above this.
    """
    by_node = bool(old.nodes and new.nodes)
    before, after = _entries(old, by_node), _entries(new, by_node)
    common = [name for name in before if name in after]
    changes = [
        NodeChange(name, before[name].precision, now.precision, before[name].time, now.time, now.why)
        for name, now in ((name, after[name]) for name in common)
    ]
    groups_before, groups_after = _groups(old), _groups(new)
    known = ((c, c.old_ms, c.new_ms) for c in changes if c.old_ms is not None and c.new_ms is not None)
    timed = [(b - a, c) for c, a, b in known if abs(b - a) > slower_by * max(a, b)]
    return Diff(
        old,
        new,
        gained=tuple(c for c in changes if c.old != "int8" and c.new == "int8"),
        lost=tuple(c for c in changes if c.old == "int8" and c.new != "int8"),
        changed=tuple(c for c in changes if c.old != c.new and "int8" not in (c.old, c.new)),
        timed=tuple(change for _, change in sorted(timed, key=lambda pair: -pair[0])),
        fused=_regrouped(common, groups_before, groups_after),
        split=_regrouped(common, groups_after, groups_before),
        only_old=tuple(name for name in before if name not in after),
        only_new=tuple(name for name in after if name not in before),
    )


class _Entry(NamedTuple):
    precision: str
    time: float | None
    why: str


def _entries(build: Build, by_node: bool) -> dict[str, _Entry]:
    if not by_node:
        layers = build.compute_layers
        return {layer.name: _Entry(layer.precision, layer.time_ms, why(layer)) for layer in layers}
    times = {layer.name: layer.time_ms for layer in build.layers}
    found = {}
    for node in build.nodes:
        known = [time for name in node.layers if (time := times.get(name)) is not None]
        found[node.node] = _Entry(node.precision, sum(known) if known else None, why(node))
    return found


def _groups(build: Build) -> dict[str, frozenset[str]]:
    """Return, for each node, the other nodes in the kernels that give its precision."""
    held = {
        layer.name: [node for node in layer.onnx_nodes if not is_qdq(node, None)] for layer in build.layers
    }
    ops = {node.node for node in build.nodes}
    return {
        node.node: frozenset(other for name in node.layers for other in held.get(name, ()) if other in ops)
        - {node.node}
        for node in build.nodes
    }


def _regrouped(
    common: Sequence[str], fewer: Mapping[str, frozenset[str]], more: Mapping[str, frozenset[str]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    told: set[str] = set()
    for name in common:
        joined = more.get(name, frozenset()) - fewer.get(name, frozenset())
        if joined and name not in told:
            told |= joined
            found.append((name, tuple(sorted(joined))))
    return tuple(found)

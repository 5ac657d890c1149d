"""Two builds of one network: what gained or lost INT8, what was split or fused, what got slower."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trt_int8.report.explain.kernels import is_qdq
from trt_int8.report.records import Build, Layer, Node
from trt_int8.report.views.words import headline, printable


@dataclass(frozen=True)
class NodeChange:
    """A node (or, without ONNX nodes, a layer) in both builds. Times are ms of its kernels, where known."""

    name: str
    old: str
    new: str
    old_ms: float | None = None
    new_ms: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Diff:
    """``changed`` holds changes between precisions other than INT8.

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
        """The differences as lines, INT8 first."""
        out = io.StringIO()
        print("old:", headline(self.old), file=out)
        print("new:", headline(self.new), file=out)
        for title, changes in (
            ("lost INT8", self.lost),
            ("gained INT8", self.gained),
            ("changed", self.changed),
        ):
            for change in changes:
                why = f" ({change.why})" if change.why else ""
                print(f"{title}: {change.name}: {change.old} → {change.new}{why}", file=out)
        for title, groups in (("fused", self.fused), ("split", self.split)):
            for name, others in groups:
                link = "with" if title == "fused" else "from"
                print(f"{title}: {name} {link} {', '.join(others)}", file=out)
        for change in self.timed:
            print(f"time: {change.name}: {change.old_ms:.4g} → {change.new_ms:.4g} ms", file=out)
        for title, names in (
            ("only in the old build", self.only_old),
            ("only in the new build", self.only_new),
        ):
            if names:
                print(f"{title}: {', '.join(names)}", file=out)
        lines = out.getvalue()
        return printable(lines) if lines.count("\n") > 2 else lines + "no differences\n"

    def to_dict(self) -> dict[str, object]:
        """The differences as plain values, for JSON."""
        return {
            "schema": 1,
            **{
                key: [
                    {"name": c.name, "old": c.old, "new": c.new, "old_ms": c.old_ms, "new_ms": c.new_ms}
                    for c in value
                ]
                for key, value in (
                    ("gained", self.gained),
                    ("lost", self.lost),
                    ("changed", self.changed),
                    ("timed", self.timed),
                )
            },
            "fused": [{"name": name, "nodes": list(others)} for name, others in self.fused],
            "split": [{"name": name, "nodes": list(others)} for name, others in self.split],
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
        }


def diff(old: Build, new: Build, *, slower_by: float = 0.05) -> Diff:
    """Compare two builds by ONNX node, or by layer name where one of them knows no nodes.

    Args:
        old, new: complete builds.
        slower_by: the relative change of time that is reported.
    """
    before, after = _entries(old, new)
    common = [name for name in before if name in after]
    changes = [_change(name, before[name], after[name]) for name in common]
    groups_before, groups_after = _groups(old), _groups(new)
    return Diff(
        old,
        new,
        gained=tuple(c for c in changes if c.old != "int8" and c.new == "int8"),
        lost=tuple(c for c in changes if c.old == "int8" and c.new != "int8"),
        changed=tuple(c for c in changes if c.old != c.new and "int8" not in (c.old, c.new)),
        timed=tuple(
            sorted(
                (c for c in changes if _moved(c, slower_by)), key=lambda c: (c.old_ms or 0) - (c.new_ms or 0)
            )
        ),
        fused=_regrouped(common, groups_before, groups_after),
        split=_regrouped(common, groups_after, groups_before),
        only_old=tuple(name for name in before if name not in after),
        only_new=tuple(name for name in after if name not in before),
    )


@dataclass(frozen=True)
class _Entry:
    precision: str
    time: float | None
    why: str


def _entries(old: Build, new: Build) -> tuple[dict[str, _Entry], dict[str, _Entry]]:
    if old.nodes and new.nodes:
        return _by_node(old), _by_node(new)
    return _by_layer(old), _by_layer(new)


def _by_node(build: Build) -> dict[str, _Entry]:
    times = {layer.name: layer.time_ms for layer in build.layers}
    return {
        node.node: _Entry(node.precision, _sum([times.get(name) for name in node.layers]), _why(node))
        for node in build.nodes
    }


def _by_layer(build: Build) -> dict[str, _Entry]:
    return {layer.name: _Entry(layer.precision, layer.time_ms, _why(layer)) for layer in build.compute_layers}


def _why(entry: Node | Layer) -> str:
    return f"{entry.reason.code}: {entry.reason.text}" if entry.reason else ""


def _sum(times: Sequence[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return sum(known) if known else None


def _change(name: str, old: _Entry, new: _Entry) -> NodeChange:
    return NodeChange(name, old.precision, new.precision, old.time, new.time, new.why)


def _moved(change: NodeChange, slower_by: float) -> bool:
    if change.old_ms is None or change.new_ms is None:
        return False
    return abs(change.new_ms - change.old_ms) > slower_by * max(change.old_ms, change.new_ms)


def _groups(build: Build) -> dict[str, frozenset[str]]:
    """Node → the other nodes in the kernels that decide for it."""
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

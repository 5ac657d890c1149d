"""Register placement rules where they are defined.

A file in `rules/` that decorates a function with `rule` adds a rule: every file there is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trt_int8.choices import PLACEMENTS, PlacementName
from trt_int8.quantization.placement.draft import Draft


@dataclass(frozen=True)
class Rule:
    """A named decision about Q/DQ pairs.

    Attributes:
        name: for ``without`` and the docs.
        what: what the rule does, in a sentence.
        source: the reason for it. ``guide`` is "Working with Quantized Types" in the TensorRT developer guide
            (explicit quantization, Q/DQ placement recommendations). ``measured`` is what the builder of
            TensorRT-RTX 1.7 does with models that differ in that rule only (figures: docs/placement.md).
        placements: the placements that have the rule.
        order: rules of a lower order are applied first. From 100 on: nodes that stay float; 200: scales;
            300: nodes that multiply; 400: other nodes that read INT8; 500: changes of the graph.
        apply: writes the decisions into the draft.
    """

    name: str
    what: str
    source: str
    placements: tuple[PlacementName, ...]
    order: int
    apply: Callable[[Draft], None]


#: The rules registered so far, by name.
REGISTERED: dict[str, Rule] = {}
TENSORRT: tuple[PlacementName, ...] = ("tensorrt",)
RTX: tuple[PlacementName, ...] = ("rtx",)


def rule(
    name: str, order: int, source: str, *, only: tuple[PlacementName, ...] = PLACEMENTS
) -> Callable[[Callable[[Draft], None]], Callable[[Draft], None]]:
    """Register a function that changes a `Draft`; the first paragraph of its docstring describes the rule.

    Args:
        name, order, source: see `Rule`.
        only: the placements that have the rule.
    """

    def register(apply: Callable[[Draft], None]) -> Callable[[Draft], None]:
        if name in REGISTERED:
            raise ValueError(f"there are two placement rules {name!r}")
        what = " ".join((apply.__doc__ or "").partition("\n\n")[0].split())
        REGISTERED[name] = Rule(name, what, source, only, order, apply)
        return apply

    return register

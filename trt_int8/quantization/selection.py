"""Choose the nodes to quantize: by operator, by name, by a precision plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import label
from trt_int8.graph.operators import AVERAGE_POOLS, MULTIPLYING
from trt_int8.patterns import matching, nearest
from trt_int8.quantization.plan import PrecisionPlan

#: Operators that some placement quantizes.
OP_TYPES = (*MULTIPLYING, "Add", *AVERAGE_POOLS)


@dataclass(frozen=True)
class Selection:
    """The nodes that may be quantized. Empty: all.

    Attributes:
        op_types: operators, of `OP_TYPES`.
        nodes: names or globs of nodes (`trt_int8.patterns`); one must match.
        exclude: names or globs of nodes; none may match.
        plan: precision by node name; overrides the others.
    """

    op_types: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    plan: PrecisionPlan | None = None

    def refusals(self, nodes: Sequence[onnx.NodeProto]) -> dict[str, str]:
        """Return first output → reason, for those of all ``nodes`` that must stay float.

        Raises:
            QuantizationError: an operator, a pattern or a name of the plan matches no node.
        """
        unknown = [op for op in self.op_types if op not in OP_TYPES]
        if unknown:
            raise QuantizationError(f"op_types={unknown[0]!r}: only {', '.join(OP_TYPES)} can be quantized")
        names = [label(node) for node in nodes]
        wanted = {name for pattern in self.nodes for name in _found("nodes", pattern, names)}
        excluding: dict[str, str] = {}
        for pattern in self.exclude:
            for name in _found("exclude", pattern, names):
                excluding.setdefault(name, pattern)
        if self.plan is not None:
            self.plan.check(names)
        planned = {} if self.plan is None else self.plan.nodes
        reasons: dict[str, str] = {}
        for node, name in zip(nodes, names, strict=True):
            if not node.output:
                continue
            if name in planned:
                if planned[name] == "float":
                    reasons[node.output[0]] = "float in the precision plan"
            elif self.op_types and node.op_type not in self.op_types:
                reasons[node.output[0]] = f"{node.op_type} is not among op_types"
            elif self.nodes and name not in wanted:
                reasons[node.output[0]] = "no pattern of nodes matches its name"
            elif name in excluding:
                reasons[node.output[0]] = f"excluded by exclude={excluding[name]!r}"
        return reasons


def _found(argument: str, pattern: str, names: Sequence[str]) -> list[str]:
    found = matching(pattern, names)
    if not found:
        raise QuantizationError(
            f"{argument}={pattern!r} matches none of the {len(names)} nodes of the model; "
            f"{nearest(pattern, names)}"
        )
    return found

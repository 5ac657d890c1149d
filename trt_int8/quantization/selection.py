"""What the user wants quantized: operators, names, a precision plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.model.graph import label
from trt_int8.quantization.plan import PrecisionPlan

#: Operators that some placement quantizes.
OP_TYPES = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class Selection:
    """Which nodes may be quantized. Empty: all.

    Attributes:
        op_types: operators, of `OP_TYPES`.
        nodes: globs of node names, one of which must match.
        exclude: globs of node names, none of which may match.
        plan: precision by node name; goes before the rest.
    """

    op_types: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    plan: PrecisionPlan | None = None

    def check(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Hold every operator, glob and name against the nodes of the model.

        Raises:
            QuantizationError: one of them fits nothing.
        """
        unknown = [op for op in self.op_types if op not in OP_TYPES]
        if unknown:
            raise QuantizationError(f"--op-types {unknown[0]}: only {', '.join(OP_TYPES)} are quantized")
        names = [label(node) for node in nodes]
        for option, globs in (("--nodes", self.nodes), ("--exclude", self.exclude)):
            for glob in globs:
                if not any(fnmatchcase(name, glob) for name in names):
                    raise QuantizationError(
                        f"{option} {glob!r} matches none of the {len(names)} nodes of the model "
                        f"({', '.join(names[:5])}, …)"
                    )
        if self.plan is not None:
            self.plan.check(names)

    def refusal(self, node: onnx.NodeProto) -> str | None:
        """Why ``node`` must stay float; None if it may be quantized."""
        name = label(node)
        planned = None if self.plan is None else self.plan.nodes.get(name)
        if planned is not None:
            return "float in the precision plan" if planned == "float" else None
        if self.op_types and node.op_type not in self.op_types:
            return f"{node.op_type} is not among --op-types"
        if self.nodes and not any(fnmatchcase(name, glob) for glob in self.nodes):
            return "no glob of --nodes matches"
        excluding = next((glob for glob in self.exclude if fnmatchcase(name, glob)), None)
        return None if excluding is None else f"excluded by --exclude {excluding!r}"

"""Options that select the Q/DQ pairs: placement, nodes, precision plan and float types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from trt_int8.choices import FLOAT_TYPES, PLACEMENTS
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Decorated, file_option, globs_option, grouped, option

if TYPE_CHECKING:
    from trt_int8.quantization import Placement, PrecisionPlan, Selection
    from trt_int8.target import Target

placement = option(
    "--placement",
    panel=Panel.TARGET,
    type=click.Choice(PLACEMENTS),
    help="Rules that decide where Q/DQ pairs go and which weight scales are per-channel. tensorrt: those of "
    "the TensorRT developer guide. rtx: those for TensorRT-RTX. [default: those that fit the target]",
)
plan = file_option(
    "--plan",
    panel=Panel.QUANTIZATION,
    help="Precision plan: a YAML file, written by sensitivity -o, with int8 or float for each node. Float "
    "nodes are not quantized.",
)


def read_plan(path: str | None) -> PrecisionPlan | None:
    """Return the precision plan in a file, None without one."""
    from trt_int8.quantization import PrecisionPlan

    return None if path is None else PrecisionPlan.read(path)


@dataclass(frozen=True)
class Choice:
    """Values of the placement options."""

    placement: str | None
    without: tuple[str, ...]
    op_types: str | None
    nodes: tuple[str, ...]
    exclude: tuple[str, ...]
    plan: str | None

    def rules(self, target: Target) -> Placement:
        """Return the placement for ``target``, without the rules that the user switched off."""
        from trt_int8.quantization.placement import resolve

        placement = resolve(self.placement or target.placement)
        left = placement.without(*self.without)
        for rule in self.without:
            if all(rule != other.name for other in placement.rules):
                raise click.UsageError(
                    f"--without {rule} has no effect: placement {placement.name} does not have this rule, "
                    "only the other placement has"
                )
        return left

    def selection(self) -> Selection:
        """Return the selection of nodes that may be quantized."""
        from trt_int8.quantization import Selection

        op_types = () if self.op_types is None else tuple(op.strip() for op in self.op_types.split(","))
        return Selection(op_types=op_types, nodes=self.nodes, exclude=self.exclude, plan=read_plan(self.plan))


#: Adds the options; the command gets one argument ``choice``, a `Choice`.
options = grouped(
    "choice",
    Choice,
    [
        placement,
        globs_option("--without", metavar="RULE", help="Switch a placement rule off"),
        option("--op-types", metavar="OPS", help="Quantize only these operators, as in Conv,Gemm."),
        globs_option("--nodes", help="Quantize only nodes whose name matches GLOB"),
        globs_option("--exclude", help="Keep nodes whose name matches GLOB in float"),
        plan,
    ],
    panel=Panel.QUANTIZATION,
)


def _float_type(*names: str, help: str) -> Callable[[Decorated], Decorated]:
    types = click.Choice(FLOAT_TYPES)
    return option(*names, panel=Panel.QUANTIZATION, type=types, default="fp32", help=help)


high_precision = _float_type("--high-precision", help="Data type of all tensors that are not INT8.")
scale_dtype = _float_type(
    "--scale-dtype",
    help="Data type of the Q/DQ scales in an FP16 model. fp32: exact scales (opset 23). fp16: rounded scales "
    "(opset 19).",
)

"""Options that say where Q/DQ pairs go, and in which type everything else runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from trt_int8.choices import FLOAT_TYPES, PLACEMENTS
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import grouped, option

if TYPE_CHECKING:
    from trt_int8.quantization import Placement, PrecisionPlan, Selection
    from trt_int8.target import Target


@dataclass(frozen=True)
class Choice:
    """What the placement options say."""

    placement_name: str | None
    without: tuple[str, ...]
    op_types: str | None
    nodes: tuple[str, ...]
    exclude: tuple[str, ...]
    plan: str | None

    def placement(self, target: Target) -> Placement:
        """The rules to follow for ``target``."""
        from trt_int8.quantization.placement import resolve

        placement = resolve(self.placement_name or target.placement)
        left = placement.without(*self.without)
        for rule in self.without:
            if all(rule != other.name for other in placement.rules):
                raise click.UsageError(
                    f"--without {rule} changes nothing: the placement {placement.name} does not have that "
                    "rule; the other one has"
                )
        return left

    def selection(self) -> Selection:
        """The nodes that may be quantized."""
        from trt_int8.quantization import Selection

        op_types = () if self.op_types is None else tuple(op.strip() for op in self.op_types.split(","))
        return Selection(op_types=op_types, nodes=self.nodes, exclude=self.exclude, plan=self.read_plan())

    def read_plan(self) -> PrecisionPlan | None:
        """The precision plan, if one was given."""
        from trt_int8.quantization import PrecisionPlan

        return None if self.plan is None else PrecisionPlan.read(self.plan)


_OPTIONS = [
    option(
        "--placement",
        "placement_name",
        panel=Panel.TARGET,
        type=click.Choice(PLACEMENTS),
        help="Rules for Q/DQ pairs: the TensorRT developer guide's, or what helps TensorRT-RTX [default: "
        "those that fit the target].",
    ),
    option(
        "--without",
        panel=Panel.QUANTIZATION,
        metavar="RULE",
        multiple=True,
        help="Switch a placement rule off (repeatable).",
    ),
    option(
        "--op-types",
        panel=Panel.QUANTIZATION,
        metavar="OPS",
        help="Quantize these operators only, for instance Conv,Gemm.",
    ),
    option(
        "--nodes",
        panel=Panel.QUANTIZATION,
        metavar="GLOB",
        multiple=True,
        help="Quantize nodes of these names only (repeatable).",
    ),
    option(
        "--exclude",
        panel=Panel.QUANTIZATION,
        metavar="GLOB",
        multiple=True,
        help="Leave nodes of these names in float (repeatable).",
    ),
    option(
        "--plan",
        panel=Panel.QUANTIZATION,
        metavar="FILE",
        type=click.Path(),
        help="A precision plan: YAML, node name to int8 or float.",
    ),
]

#: Adds the options; the command gets one argument ``choice``, a `Choice`.
options = grouped("choice", Choice, _OPTIONS)

high_precision = option(
    "--high-precision",
    panel=Panel.QUANTIZATION,
    type=click.Choice(FLOAT_TYPES),
    default="fp32",
    show_default=True,
    help="The type of everything that is not INT8.",
)
scale_dtype = option(
    "--scale-dtype",
    panel=Panel.QUANTIZATION,
    type=click.Choice(FLOAT_TYPES),
    default="fp32",
    show_default=True,
    help="The type of the scales of an FP16 model: fp32 (exact, opset 23) or fp16 (rounded, opset 19).",
)

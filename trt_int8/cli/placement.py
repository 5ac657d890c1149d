"""Options that say where Q/DQ pairs go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from trt_int8.quantization import Placement, PrecisionPlan, Selection
    from trt_int8.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Choice:
    """What the placement options say."""

    name: str | None
    without: tuple[str, ...]
    op_types: str | None
    nodes: tuple[str, ...]
    exclude: tuple[str, ...]
    plan: str | None

    def placement(self, target: Target) -> Placement:
        """The rules to follow for ``target``."""
        from trt_int8.quantization.placement import resolve

        placement = resolve(self.name or target.placement)
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


def options(command: Command) -> Command:
    """The options; the command gets one argument ``choice``, a `Choice`."""

    def collect(**arguments: Any) -> Any:
        name = arguments.pop("placement_name")
        rest = {key: arguments.pop(key) for key in ("without", "op_types", "nodes", "exclude", "plan")}
        return command(choice=Choice(name, **rest), **arguments)

    collect.__name__, collect.__doc__ = command.__name__, command.__doc__
    collect.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # where click keeps the options
    wrapped: Any = collect
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    result: Command = wrapped
    return result


_OPTIONS = [
    click.option(
        "--placement",
        "placement_name",
        type=click.Choice(["tensorrt", "rtx"]),
        help="Rules for Q/DQ pairs: the TensorRT developer guide's, or what helps TensorRT-RTX [default: "
        "those that fit the target].",
    ),
    click.option(
        "--without", metavar="RULE", multiple=True, help="Switch a placement rule off (repeatable)."
    ),
    click.option("--op-types", metavar="OPS", help="Quantize these operators only, for instance Conv,Gemm."),
    click.option(
        "--nodes", metavar="GLOB", multiple=True, help="Quantize nodes of these names only (repeatable)."
    ),
    click.option(
        "--exclude", metavar="GLOB", multiple=True, help="Leave nodes of these names in float (repeatable)."
    ),
    click.option(
        "--plan",
        metavar="FILE",
        type=click.Path(),
        help="A precision plan: YAML, node name to int8 or float.",
    ),
]

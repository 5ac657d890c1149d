"""Options of the implicit route, TensorRT up to 10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from trt_int8.choices import CONSTRAINTS
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import grouped, option

if TYPE_CHECKING:
    from trt_int8.engine.implicit.build import ImplicitOptions


@dataclass(frozen=True)
class ImplicitArguments:
    """What the options say."""

    calibration_cache: str | None
    reuse_cache: bool
    fp16: bool
    bf16: bool
    tf32: bool
    keep_fp16: tuple[str, ...]
    keep_fp32: tuple[str, ...]
    constraints: str
    ranges: tuple[str, ...]
    workspace: int | None
    timing_cache: str | None

    def options(self) -> ImplicitOptions:
        """The same for the library."""
        from trt_int8.engine.implicit.build import ImplicitOptions

        return ImplicitOptions(
            fp16=self.fp16,
            bf16=self.bf16,
            tf32=self.tf32,
            keep_fp16=self.keep_fp16,
            keep_fp32=self.keep_fp32,
            constraints=self.constraints,  # type: ignore[arg-type]  # click checked the choice
            ranges=self.ranges,
            workspace=None if self.workspace is None else self.workspace << 20,
            timing_cache=self.timing_cache,
            cache=self.calibration_cache,
            reuse_cache=self.reuse_cache,
        )


_OPTIONS = [
    option(
        "--calibration-cache",
        metavar="FILE",
        type=click.Path(),
        help="Cache of TensorRT's calibration, used if it fits model and data, else written.",
    ),
    option("--reuse-cache", is_flag=True, help="Use that cache whatever it was made from."),
    option("--fp16", is_flag=True, help="Allow FP16 too."),
    option("--bf16", is_flag=True, help="Allow BF16 too."),
    option("--tf32/--no-tf32", default=True, show_default=True, help="Allow TF32 in FP32 layers."),
    option(
        "--keep-fp16",
        multiple=True,
        metavar="GLOB",
        help="Keep these layers in FP16, such as 'head/*'; may be given again.",
    ),
    option("--keep-fp32", multiple=True, metavar="GLOB", help="Keep these layers in FP32."),
    option(
        "--constraints",
        type=click.Choice(CONSTRAINTS),
        default="obey",
        show_default=True,
        help="Fail where a layer cannot be kept so, or warn.",
    ),
    option(
        "--ranges",
        multiple=True,
        metavar="FILE",
        type=click.Path(),
        help="Dynamic ranges by hand (YAML, JSON, calibration cache); they win over calibration.",
    ),
    option(
        "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Scratch memory the layers may take."
    ),
    option("--timing-cache", metavar="FILE", type=click.Path(), help="Kernel timings, shared by builds."),
]

#: Adds the options; the command gets one argument ``implicit``, an `ImplicitArguments`.
implicit = grouped("implicit", ImplicitArguments, _OPTIONS, panel=Panel.IMPLICIT)

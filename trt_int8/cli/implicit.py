"""Options of the implicit route: TensorRT up to version 10 calibrates and chooses the INT8 layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trt_int8.choices import CONSTRAINTS
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import count_option, file_option, globs_option, grouped, option, result_option

if TYPE_CHECKING:
    from trt_int8.engine.implicit.build import ImplicitOptions

_OPTIONS = [
    result_option(
        "--calibration-cache",
        help="TensorRT's calibration cache. It is read if it was made from the same model and data, and "
        "refused if not. If there is no such file, TensorRT calibrates and writes it.",
    ),
    option(
        "--reuse-cache", is_flag=True, help="Read that cache even if it was made from another model or data."
    ),
    option("--fp16", is_flag=True, help="Allow FP16 layers as well."),
    option("--bf16", is_flag=True, help="Allow BF16 layers as well."),
    option("--tf32/--no-tf32", default=True, help="Allow TF32 in FP32 layers."),
    globs_option("--keep-fp16", help="Keep layers whose name matches GLOB in FP16, such as 'head/*'"),
    globs_option("--keep-fp32", help="Keep layers whose name matches GLOB in FP32"),
    option(
        "--constraints",
        type=click.Choice(CONSTRAINTS),
        default="obey",
        help="If a layer cannot run in the precision of --keep-fp16 or --keep-fp32: fail or warn.",
    ),
    file_option(
        "--ranges",
        multiple=True,
        help="Dynamic ranges set by hand: YAML, JSON or a calibration cache. They override calibrated ranges "
        "(repeatable).",
    ),
    count_option("--workspace", metavar="MIB", help="Limit of the layers' workspace memory, in MiB."),
    result_option("--timing-cache", help="TensorRT's timing cache, which builds read and update."),
]


def _options(calibration_cache: str | None, workspace: int | None, **values: Any) -> ImplicitOptions:
    from trt_int8.engine.implicit.build import ImplicitOptions

    limit = None if workspace is None else workspace << 20  # MiB to bytes
    return ImplicitOptions(cache=calibration_cache, workspace=limit, **values)


#: Adds the options; the command gets one argument ``implicit``, an `ImplicitOptions`.
implicit = grouped("implicit", _options, _OPTIONS, panel=Panel.IMPLICIT)

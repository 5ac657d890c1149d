"""Options that say in which type everything runs that is not INT8."""

from __future__ import annotations

import click

_TYPES = click.Choice(["fp32", "fp16"])

high_precision = click.option(
    "--high-precision",
    type=_TYPES,
    default="fp32",
    show_default=True,
    help="The type of everything that is not INT8.",
)
scales = click.option(
    "--scales",
    "scale_type",
    type=_TYPES,
    default="fp32",
    show_default=True,
    help="Of a model in FP16: exact fp32 scales (opset 23), or fp16 ones (opset 19), rounded.",
)

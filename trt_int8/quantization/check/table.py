"""The checks of Q/DQ models as one table, the gravest first, mended in this order.

``refused``: no engine. ``float``: an engine in which the node does not multiply in INT8. ``slow``: fusions
or INT8 copies are lost. All but the slow ones were seen on TensorRT-RTX 1.7; docs/placement.md has the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trt_int8.quantization.check import accepted, multiplied, placed
from trt_int8.quantization.check.qdq import Fault, QdqGraph


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        name: the rule.
        severity: ``refused``, ``float`` or ``slow``.
        find: yields a `Fault` for each place.
        mend: what to do, for people.
        fix: does it, in the model of the graph; None if it takes more than the model.
    """

    name: str
    severity: str
    find: Callable[[QdqGraph], Iterator[Fault]]
    mend: str
    fix: Callable[[QdqGraph], None] | None = None


# fmt: off
CHECKS = (
    Check("operator", "refused", accepted.operators,
          "quantize the float model in the Q/DQ format"),
    Check("opset", "refused", accepted.opset,
          "raise the opset to 13", accepted.fix_opset),
    Check("computed-scale", "refused", accepted.computed_scale,
          "export with constant scales and zero points"),
    Check("int32-bias", "refused", accepted.int32_bias,
          "keep the bias in float", accepted.fix_int32_bias),
    Check("scalar-constant", "refused", accepted.scalar_constant,
          "keep the constant in float", accepted.fix_scalar_constant),
    Check("scale", "refused", accepted.scale,
          "scales must be positive and finite", accepted.fix_scale),
    Check("symmetric-int8", "refused", accepted.symmetric_int8,
          "use INT8 with zero point 0 and a scale that covers the same range", accepted.fix_symmetric_int8),
    Check("scale-rank", "float", multiplied.scale_rank,
          "make the scale a scalar", multiplied.fix_scale_rank),
    Check("per-channel-activation", "float", multiplied.per_channel_activation,
          "use one scale, the largest", multiplied.fix_per_channel_activation),
    Check("weight-axis", "float", multiplied.weight_axis,
          "quantize the weight along its output channels", multiplied.fix_weight_axis),
    Check("missing-pair", "float", multiplied.missing_pair,
          "quantize both operands", multiplied.fix_missing_pair),
    Check("unread-pair", "slow", placed.unread_pair,
          "remove it", placed.fix_unread_pair),
    Check("broken-fusion", "slow", placed.broken_fusion,
          "let the builder fuse: remove the pair", placed.fix_broken_fusion),
    Check("residual-pair", "slow", placed.residual_pair,
          "quantize the residual input of the Add", placed.fix_residual_pair),
    Check("concat-scales", "slow", placed.concat_scales,
          "give all inputs of the Concat the largest scale", placed.fix_concat_scales),
)
# fmt: on

"""Place Q/DQ pairs by named rules; a placement is a choice of rules."""

from trt_int8.quantization.placement.placement import PLACEMENTS, RULES, Placement, resolve
from trt_int8.quantization.placement.rule import Rule

__all__ = ["PLACEMENTS", "RULES", "Placement", "Rule", "resolve"]

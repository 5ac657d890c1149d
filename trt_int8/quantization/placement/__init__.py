"""Where Q/DQ pairs go: named rules, one function each, and the two placements made of them."""

from trt_int8.quantization.placement.placement import PLACEMENTS, RULES, Placement, resolve
from trt_int8.quantization.placement.rule import Rule

__all__ = ["PLACEMENTS", "RULES", "Placement", "Rule", "resolve"]

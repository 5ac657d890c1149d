"""Where Q/DQ pairs go: a table of named rules, and the two placements made of them."""

from trt_int8.quantization.placement.table import (
    PLACEMENTS,
    RULES,
    Placement,
    Rule,
    resolve,
)

__all__ = ["PLACEMENTS", "RULES", "Placement", "Rule", "resolve"]

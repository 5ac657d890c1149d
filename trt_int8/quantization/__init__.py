"""Explicit quantization: a float model and ranges become a Q/DQ model."""

from trt_int8.graph.index import has_qdq
from trt_int8.quantization.half import to_half
from trt_int8.quantization.placement import PLACEMENTS, RULES, Placement
from trt_int8.quantization.placement.draft import Skipped
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized, quantize, required_tensors
from trt_int8.quantization.selection import Selection

__all__ = [
    "PLACEMENTS",
    "RULES",
    "Placement",
    "PrecisionPlan",
    "Quantized",
    "Selection",
    "Skipped",
    "has_qdq",
    "quantize",
    "required_tensors",
    "to_half",
]

"""Explicit quantization: a float model and ranges become a Q/DQ model."""

from trt_int8.model.qdq import has_qdq
from trt_int8.quantization.quantized import Quantized, Skipped, quantize

__all__ = ["Quantized", "Skipped", "has_qdq", "quantize"]

"""Explicit quantization: a float model and ranges become a Q/DQ model."""

from trt_int8.quantization.quantized import Quantized, Skipped, has_qdq, quantize

__all__ = ["Quantized", "Skipped", "has_qdq", "quantize"]

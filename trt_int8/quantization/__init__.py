"""Explicit quantization: a float model and ranges become a Q/DQ model."""

from trt_int8.quantization.quantize import Quantized, quantize

__all__ = ["Quantized", "quantize"]

"""Check Q/DQ models from elsewhere: what TensorRT refuses, runs in float, or runs slowly; and repair them."""

from trt_int8.quantization.check.check import CHECKS, Checked, Finding, check_qdq, fix_qdq

__all__ = ["CHECKS", "Checked", "Finding", "check_qdq", "fix_qdq"]

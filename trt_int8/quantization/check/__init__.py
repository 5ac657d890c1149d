"""Q/DQ models from elsewhere: what TensorRT refuses, runs in float, or runs slowly, and how to mend it."""

from trt_int8.quantization.check.check import Checked, Finding, check_qdq, fix_qdq
from trt_int8.quantization.check.table import CHECKS

__all__ = ["CHECKS", "Checked", "Finding", "check_qdq", "fix_qdq"]

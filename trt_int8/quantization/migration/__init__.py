"""From a calibration cache to a Q/DQ model with the same scales, and back."""

from trt_int8.quantization.migration.from_qdq import cache_from_qdq
from trt_int8.quantization.migration.migrate import Migration, migrate
from trt_int8.quantization.migration.parity import ParityRow

__all__ = ["Migration", "ParityRow", "cache_from_qdq", "migrate"]

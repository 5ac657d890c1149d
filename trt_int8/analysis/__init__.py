"""What ranges cost: SQNR from histograms, asymmetry, clipping, and the nodes to blame."""

from trt_int8.analysis.analysis import RangeAnalysis, analyze
from trt_int8.analysis.tensor import TensorAnalysis

__all__ = ["RangeAnalysis", "TensorAnalysis", "analyze"]

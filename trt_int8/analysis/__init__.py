"""Analyze ranges: SQNR predicted from histograms, asymmetry and clipping of each tensor."""

from trt_int8.analysis.analysis import RangeAnalysis, analyze
from trt_int8.analysis.tensor import TensorAnalysis

__all__ = ["RangeAnalysis", "TensorAnalysis", "analyze"]

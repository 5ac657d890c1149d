"""Which nodes cost accuracy in INT8, and the largest set of them within a budget."""

from trt_int8.analysis.sensitivity.judge import Judge, Score
from trt_int8.analysis.sensitivity.measure import Measurements
from trt_int8.analysis.sensitivity.ranking import NodeSensitivity, rank
from trt_int8.analysis.sensitivity.search import Budget, Found, samples_needed, search

__all__ = [
    "Budget",
    "Found",
    "Judge",
    "Measurements",
    "NodeSensitivity",
    "Score",
    "rank",
    "samples_needed",
    "search",
]
